"""Tries with a few rows whether what the project names itself can be kept and taken to devices: before minutes pass."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ConversionError, ExporterError, UnsupportedError
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.models.model_file import parse_estimator
from exporter.variants import choose_forms
from trainer.errors import ProjectError
from trainer.pipeline.candidates import Family
from trainer.pipeline.lesson import Lesson
from trainer.pipeline.model_bytes import model_bytes

_ROWS_OF_A_LABEL: Final = 30
_LEAST_ROWS: Final = 120


def verify_exportable(lesson: Lesson, families: Sequence[Family]) -> None:
    """Fit each family that the project names itself on a few rows, write it, read it, convert it.

    Raises:
        ProjectError: it cannot be fitted, kept, or converted into any form that is asked for; the reason is named.
    """
    chosen = _few_rows(lesson)
    for family in families:
        if family.is_named:
            _verify(lesson, family, chosen)


def _verify(lesson: Lesson, family: Family, chosen: NDArray[np.bool_]) -> None:
    project = lesson.project
    where = f"key 'training.estimators': {family.name!r}"
    try:
        estimator = lesson.fit(family, family.starts_with, 1.0, chosen)
    except (ValueError, TypeError, RuntimeError) as error:
        msg = f"{where} cannot be fitted: {error}"
        raise ProjectError(msg) from error
    labels = tuple(str(label) for label in range(lesson.n_labels))
    try:
        model = FittedModel(estimator, project.target.task, project.features, labels)
        material = Material(model, lesson.rows[chosen])
        _ = material.program
        parse_estimator(model_bytes(estimator), family.name)
    except ExporterError as error:
        msg = f"{where} cannot be taken to devices: {error}; docs/coverage.md lists what can"
        raise ProjectError(msg) from error
    refusals = []
    for form in choose_forms(project.export.variants, project.export.boards):
        try:
            form.convert(material)
        except (UnsupportedError, ConversionError) as error:
            refusals.append(f"{form.name}: {error}")
        else:
            return
    msg = f"{where} has none of the forms of 'export.variants': {'; '.join(refusals)}; docs/coverage.md lists its forms"
    raise ProjectError(msg)


def _few_rows(lesson: Lesson) -> NDArray[np.bool_]:
    """Take rows from everywhere that may be trained on, of each label some."""
    may_train = np.flatnonzero(lesson.splits.fitted)
    spread = np.unique(np.linspace(0, len(may_train) - 1, min(len(may_train), _LEAST_ROWS)).astype(np.int64))
    chosen = np.zeros(len(lesson.rows), dtype=np.bool_)
    chosen[may_train[spread]] = True
    for label in range(lesson.n_labels):
        chosen[may_train[lesson.truth[may_train] == label][:_ROWS_OF_A_LABEL]] = True
    return chosen
