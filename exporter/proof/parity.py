"""Compares a variant's answers with the original's, row by row and kind by kind. It runs nothing and judges nothing."""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Task
from exporter.models.metrics import decisions_of
from exporter.models.model import Outputs, Rows
from exporter.proof.probes import KINDS, ORDINARY, Kind, Probes
from exporter.proof.ties import TIE_MARGIN, StepTies, margins_of

# A number that is farther off than this, relative to its scale, was computed in another way, not rounded otherwise.
CLOSE: Final = 1e-4
WORST_ROWS: Final = 10
_QUANTILES: Final = (50, 90, 99, 100)

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class WorstRow(msgspec.Struct, frozen=True):
    """One of the rows that differ most; `row` counts the probes, evaluation rows first. None stands for missing.

    Attributes:
        matters: the features that move the original's answer most when each is replaced by its median, most first.
    """

    row: int
    kind: Kind
    features: tuple[float | None, ...]
    expected: tuple[float, ...]
    got: tuple[float | None, ...]
    matters: tuple[int, ...] = ()


class KindParity(msgspec.Struct, frozen=True):
    """How a variant compares on the rows of one kind; see `Parity` for the counts.

    Attributes:
        p50, p90, p99, max: quantiles of the greatest difference of a row's outputs, where they are numbers.
    """

    kind: Kind
    rows: int
    label_flips: int
    ties: int
    not_numbers: int
    p50: float
    p90: float
    p99: float
    max: float


class Parity(msgspec.Struct, frozen=True):
    """How a variant compares with the original.

    Counts are over all rows but huge ones, on which an answer of float32 may overflow; differences over what a sensor
    may send (`exporter.proof.probes.ORDINARY`); `kinds` tells of all.

    Attributes:
        rows: how many rows were compared.
        not_numbers: rows that the variant answered with something that is no number.
        max_abs_difference, p50, p90, p99: of the greatest difference of a row's outputs, over rows that are no ties.
        label_flips: rows that are decided otherwise, without ties.
        ties: rows that are decided otherwise or differ far, but on which the original itself wavers
            (`exporter.proof.ties`).
        far_rows: rows that differ by more than CLOSE, relative to `scale` or the value itself, without ties.
        scale: what a difference is measured by: 1 for probabilities, else the spread of the values.
        worst: the rows that differ most, worst first.
    """

    rows: int
    not_numbers: int
    max_abs_difference: float
    label_flips: int
    ties: int
    far_rows: int
    scale: float
    worst: tuple[WorstRow, ...]
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    kinds: tuple[KindParity, ...] = ()


def compare(task: Task, probes: Probes, got: Outputs, step_ties: StepTies | None = None) -> Parity:
    """Compare a variant's answers ``(n, n_outputs)`` with what was expected.

    Args:
        task: of the model.
        probes: what was expected.
        got: by the variant.
        step_ties: forgives rows that lie within two float32 steps of a change of the original; None: nothing is
            forgiven but ties of the outputs.
    """
    expected = probes.expected
    scale = scale_of(task, expected[probes.of("evaluation")])
    is_number: Bools = np.asarray(np.isfinite(got).all(axis=1))
    distance = np.max(np.abs(np.where(is_number[:, np.newaxis], got, expected) - expected), axis=1)
    differs = (decisions_of(task, np.nan_to_num(got)) != decisions_of(task, expected)) & is_number
    size: float | Floats = (
        1.0 if task == "classification" else np.maximum(np.max(np.abs(expected), axis=1) / scale, 1.0)
    )
    far = is_number & (distance > CLOSE * scale * size)
    ties = differs & (margins_of(task, expected) < TIE_MARGIN * scale)
    if step_ties is not None:
        doubtful = np.flatnonzero((differs | far) & ~ties)
        ties[doubtful] = step_ties.among(probes.rows[doubtful], expected[doubtful], got[doubtful])
    flips, far = differs & ~ties, far & ~ties
    counted, ordinary = ~probes.of("huge"), probes.of(*ORDINARY)
    # A tie may lie a whole decision apart, which says nothing of how well the variant computes.
    p50, p90, p99, greatest = _quantiles(distance[ordinary & is_number & ~ties])
    # What is no number is the worst difference of all, and must not hide in a comparison.
    ranked = np.where(is_number, distance, np.inf)
    # A real row that is decided otherwise says more than one that was made.
    keys = (np.arange(len(ranked)), -ranked, ties, ~probes.of("evaluation"), ~flips, is_number, ~counted)
    order = np.lexsort(keys)[:WORST_ROWS]
    return Parity(
        rows=int(counted.sum()),
        not_numbers=int((~is_number & counted).sum()),
        max_abs_difference=greatest,
        label_flips=int((flips & counted).sum()),
        ties=int((ties & counted).sum()),
        far_rows=int((far & counted).sum()),
        scale=scale,
        worst=tuple(_worst_row(int(i), probes, got) for i in order if ranked[i] > 0),
        p50=p50,
        p90=p90,
        p99=p99,
        kinds=tuple(
            _kind_parity(kind, probes.of(kind), flips, ties, is_number, distance)
            for kind in KINDS
            if kind in probes.kinds
        ),
    )


def scale_of(task: Task, expected: Outputs) -> float:
    """Return what differences are measured by: 1 for probabilities, else the range of the values.

    A hundredth of their size is added for values that lie far from zero.
    """
    if task == "classification" or len(expected) == 0:
        return 1.0
    return float(np.ptp(expected) + 0.01 * np.max(np.abs(expected))) or 1.0


def _kind_parity(kind: Kind, own: Bools, flips: Bools, ties: Bools, is_number: Bools, distance: Floats) -> KindParity:
    return KindParity(
        kind,
        int(own.sum()),
        int((own & flips).sum()),
        int((own & ties).sum()),
        int((own & ~is_number).sum()),
        *_quantiles(distance[own & is_number]),
    )


def _quantiles(distance: Floats) -> tuple[float, float, float, float]:
    if len(distance) == 0:
        return 0.0, 0.0, 0.0, 0.0
    p50, p90, p99, greatest = np.percentile(distance, _QUANTILES, method="higher").tolist()
    return p50, p90, p99, greatest


def _worst_row(index: int, probes: Probes, got: Outputs) -> WorstRow:
    expected = tuple(probes.expected[index].tolist())
    return WorstRow(
        index, probes.kinds[index], _finite_or_none(probes.rows[index]), expected, _finite_or_none(got[index])
    )


def _finite_or_none(values: Rows | Outputs) -> tuple[float | None, ...]:
    return tuple(float(value) if np.isfinite(value) else None for value in values)
