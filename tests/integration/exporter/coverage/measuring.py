"""Makes one variant of one model, lets the device's own adapter score probes, and judges it as an export does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from edge_agent.durable import replace_file
from edge_agent.errors import BundleError, RowError
from exporter.errors import ConversionError, UnsupportedError
from exporter.material import Material
from exporter.models.metrics import decisions_of
from exporter.models.model import FittedModel
from exporter.proof.gates import parity_refusal
from exporter.proof.parity import compare
from exporter.proof.probes import ORDINARY, SEED, Probes, make_probes
from exporter.proof.proving import score_rows
from exporter.proof.runtimes import open_file
from exporter.proof.ties import TIE_MARGIN, StepTies, margins_of
from exporter.variants import FORMS, Form
from tests.integration.exporter.coverage.case import Case

Kind = Literal["exact", "int8", "refused", "wrong"]
_ANY_LOSS: Final = 1.0


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
    parity = compare(
        model.task, probes, got, None if form.is_quantised else StepTies(model, SEED, material.calibration)
    )
    difference = parity.max_abs_difference / parity.scale
    refusal = parity_refusal(parity, is_quantised=form.is_quantised, loss=0.0, max_loss=_ANY_LOSS)
    if refusal:
        return Cell("wrong", difference, reason=refusal)
    if not form.is_quantised:
        return Cell("exact", difference)
    return Cell("int8", difference, _agreement(model, probes, got))


def _agreement(model: FittedModel, probes: Probes, got: np.ndarray) -> float:
    is_counted = probes.of(*ORDINARY) & (margins_of(model.task, probes.expected) >= TIE_MARGIN)
    is_same = decisions_of(model.task, got) == decisions_of(model.task, probes.expected)
    return float(np.mean(is_same[is_counted])) if is_counted.any() else 1.0
