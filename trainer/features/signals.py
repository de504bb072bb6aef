"""Turns raw readings of a file into rows to learn from: one a window, made by what devices run.

Windows are those of `edge_agent.scoring.windows`, so that a model is trained on the very numbers that it will be given.
A window that a device would refuse, because a feature is missing that may not be, is none to learn from either.
"""

import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edge_agent.scoring.windows import Extractor, breaks_in, windows_of
from trainer.features.columns import Place, column_of, numbers, texts
from trainer.project.project import Project
from trainer.project.signal import Rule, SignalSection

logger = logging.getLogger(__name__)


def windows_in(
    raw: Any,  # noqa: ANN401 - Arrow ships no types
    truth: Any,  # noqa: ANN401
    project: Project,
    section: SignalSection,
    where: Place,
) -> Any:  # noqa: ANN401
    """Return the windows of a file's readings, in their order.

    Args:
        raw: the readings as they stand in the file.
        truth: their labels or values, already checked.
        project: names entity and features.
        section: how readings become windows.
        where: the file, and the row at which ``raw`` begins.

    Returns:
        An Arrow table as `trainer.features.source.read_source` returns it.

    Raises:
        DataError: a column is not there, or holds what is no number.
    """

    def place(column: str) -> Place:
        return Place(where.file, column, where.first_row)

    channels = [channel.name for channel in section.channels]
    readings = np.column_stack([numbers(column_of(raw, place(c)), place(c), may_miss=True) for c in channels])
    is_break = np.zeros(len(readings), dtype=np.bool_)
    if section.time is not None:
        is_break |= breaks_in(numbers(column_of(raw, place(section.time)), place(section.time), may_miss=True), section)
    groups = {
        column: texts(column_of(raw, place(column)), place(column), may_miss=False)
        for column in (section.recording, project.data.entity)
        if column is not None
    }
    for names in groups.values():
        is_break[1:] |= np.array([a != b for a, b in itertools.pairwise(names)], dtype=np.bool_)
    made = windows_of(Extractor(section), readings, is_break)
    labels = truth.to_pylist()
    spans = [labels[begin : begin + section.size] for begin in made.first.tolist()]
    is_labelled = np.array([section.label != "unanimous" or len(set(span)) == 1 for span in spans], dtype=np.bool_)
    is_whole = _are_whole(project, made.features)
    _tell_left_out(where, is_labelled, is_whole)
    kept = np.flatnonzero(is_labelled & is_whole)
    table = {
        f"x.{feature.name}": pa.array(made.features[kept, column].astype(np.float64), type=pa.float64())
        for column, feature in enumerate(project.features)
    }
    table["truth"] = pa.array([_label_of(spans[place], section.label) for place in kept], type=truth.type)
    if project.data.entity is not None:
        of = groups[project.data.entity]
        table["entity"] = pa.array([of[first] for first in made.first[kept].tolist()], type=pa.string())
    return pa.table(table)


def _are_whole(project: Project, features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which windows have every feature that may not be missing, ``(n_windows,)``."""
    needed = [feature.on_missing == "refuse" for feature in project.features]
    return np.asarray(~np.isnan(features[:, needed]).any(axis=1), dtype=np.bool_)


def _tell_left_out(where: Place, is_labelled: NDArray[np.bool_], is_whole: NDArray[np.bool_]) -> None:
    for what, is_kept in (("with several labels", is_labelled), ("that lack readings", is_whole)):
        if not is_kept.all():
            logger.warning("%s: %d of %d windows %s: left out", where.file, (~is_kept).sum(), len(is_kept), what)


def _label_of(span: Sequence[Any], rule: Rule) -> Any:  # noqa: ANN401 - a name, or a number
    if rule == "mean":
        return float(np.mean(span))
    if rule == "majority":
        # Counted from the end: of equally many, `max` takes the one that it saw first.
        counted = Counter(reversed(span))
        return max(counted, key=counted.__getitem__)
    return span[-1]
