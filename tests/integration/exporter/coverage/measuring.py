"""Makes one variant of one model, lets the device's own adapter score probes, and judges it as an export does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from edge_agent.durable import replace_file
from edge_agent.errors import BundleError, RowError
from exporter.errors import ConversionError, UnsupportedError
from exporter.export import decides_on_row
from exporter.material import Material
from exporter.models.metrics import decisions_of
from exporter.models.model import FittedModel, Outputs
from exporter.proof.gates import parity_refusal
from exporter.proof.parity import compare, scale_of
from exporter.proof.probes import SEED, Kind, Probes, make_probes
from exporter.proof.proving import score_rows
from exporter.proof.runtimes import open_file
from exporter.proof.ties import StepTies
from exporter.variants import FORMS, Form
from tests.integration.exporter.coverage.case import Case

Outcome = Literal["exact", "int8", "refused", "wrong"]
# Rows as a sensor sends them. The others, which were searched for, tell whether a row is decided otherwise.
_PLAIN: Final[tuple[Kind, ...]] = ("evaluation", "missing", "category")
_ANY_LOSS: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of one variant of one model.

    Attributes:
        difference: greatest one of an output on rows as a sensor sends them that are decided alike, relative to the
            spread of the values.
        agreement: share of those rows that are decided alike; 1 for regression.
        reason: why it was refused, or is wrong.
    """

    outcome: Outcome
    difference: float = 0.0
    agreement: float = 1.0
    reason: str = ""


def measure(case: Case, folder: Path) -> dict[str, Cell]:
    """Return the cells of a case, by variant; files are written into ``folder``."""
    material = Material(case.model, case.rows)
    probes = make_probes(case.model, case.rows, np.random.default_rng(SEED), program=material.program)
    return {name: _cell(material, form, probes, folder) for name, form in FORMS.items()}


def _cell(material: Material, form: Form, probes: Probes, folder: Path) -> Cell:
    model, path = material.model, folder / form.file
    try:
        replace_file(path, form.convert(material))
    except (UnsupportedError, ConversionError) as error:
        return Cell("refused", reason=str(error))
    try:
        runtime = open_file(form.runtime, path, len(model.features), model.n_outputs)
        try:
            got = score_rows(runtime, probes.rows)
        finally:
            runtime.close()
    except (BundleError, RowError, ConversionError) as error:
        return Cell("wrong", reason=str(error))
    # As an export does: native tables compare with the very thresholds, where nothing is computed before them.
    is_strict = form.is_quantised or (form.runtime == "native" and decides_on_row(material.program))
    forgives = None if is_strict else StepTies(model, SEED, material.calibration)
    parity = compare(model.task, probes, got, forgives)
    difference, agreement = _distances(model, probes, got)
    refusal = parity_refusal(parity, is_quantised=form.is_quantised, loss=0.0, max_loss=_ANY_LOSS)
    if refusal:
        return Cell("wrong", difference, agreement, refusal)
    return Cell("int8" if form.is_quantised else "exact", difference, agreement)


def _distances(model: FittedModel, probes: Probes, got: Outputs) -> tuple[float, float]:
    plain = probes.of(*_PLAIN)
    expected, answered = probes.expected[plain], np.nan_to_num(got[plain])
    is_same = decisions_of(model.task, answered) == decisions_of(model.task, expected)
    distance = np.abs(answered - expected).max(axis=1) / scale_of(model.task, expected)
    return float(np.max(distance[is_same], initial=0.0)), float(np.mean(is_same))
