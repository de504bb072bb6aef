"""Chooses the rows on which variants are compared with the original, each with the reason why it is there.

All evaluation rows; rows searched for on the decision boundary, and on and next to the thresholds of trees; ends of
ranges, tiny and huge numbers; gaps; categories. Only rows that a device hands to a model by the rules of its features.
The same model, rows and generator give the same probes.
"""

import warnings
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ModelError
from exporter.models.metrics import decisions_of
from exporter.models.model import FittedModel, Outputs, Rows
from exporter.programs.program import Program
from exporter.programs.thresholds import threshold_rows
from exporter.proof.acceptance import flagged_of, is_taken
from exporter.proof.boundaries import boundary_rows
from exporter.proof.extremes import HUGE, category_rows, extreme_rows, huge_rows, missing_rows
from exporter.threads import one_thread

Kind: TypeAlias = Literal["evaluation", "boundary", "threshold", "missing", "category", "extreme", "huge"]

KINDS: Final[tuple[Kind, ...]] = ("evaluation", "boundary", "threshold", "missing", "category", "extreme", "huge")
# What a sensor in its range may send: only these say how far a variant is off. The others say whether it breaks.
ORDINARY: Final[frozenset[Kind]] = frozenset({"evaluation", "boundary", "threshold", "missing", "category"})
SEED: Final = 0
_THRESHOLD_ROWS: Final = 2000
# Features that may be missing must be missing without an error; of the others a model may refuse what it likes.
_MUST_ANSWER: Final[frozenset[Kind]] = frozenset({"evaluation", "boundary", "missing", "category"})


@dataclass(frozen=True, slots=True)
class Probes:
    """Rows to compare on; evaluation rows come first, in their order.

    Attributes:
        rows: ``(n, n_features) float32``.
        kinds: ``(n,)``: why each row is there.
        expected: ``(n, n_outputs)``: the original's answers.
        notes: what could not be probed, and why.
    """

    rows: Rows
    kinds: tuple[Kind, ...]
    expected: Outputs
    notes: tuple[str, ...] = ()

    def of(self, *kinds: Kind) -> NDArray[np.bool_]:
        """Tell for each row whether it is of one of these kinds."""
        return np.isin(np.array(self.kinds, dtype=str), kinds)


def make_probes(
    model: FittedModel,
    evaluation: Rows,
    rng: np.random.Generator | None = None,
    *,
    known: Rows | None = None,
    program: Program | None = None,
) -> Probes:
    """Choose the rows to compare on, and let the original answer them.

    Args:
        model: the original.
        evaluation: ``(n, n_features) float32``, at least one.
        rng: chooses; seeded alike unless given.
        known: rows whose ranges are the usual ones; the evaluation rows unless given.
        program: the model as a program; without it no thresholds are known.

    Raises:
        ModelError: the original refuses rows that the features allow, for example missing values.
    """
    rng = rng or np.random.default_rng(SEED)
    features, known = model.features, evaluation if known is None else known

    def decide(rows: Rows) -> NDArray[np.int64]:
        return decisions_of(model.task, answers_of(model, rows))

    # Calls are many and batches small: the threads of an original would spend their time on waiting for each other.
    with one_thread():
        boundary = boundary_rows(model, evaluation, decide, rng)
    parts: list[tuple[Kind, Rows]] = [
        ("boundary", boundary),
        ("threshold", evaluation[:0] if program is None else _threshold_rows(program, model, evaluation, rng)),
        ("missing", missing_rows(features, evaluation, rng)),
        ("category", category_rows(features, evaluation, rng)),
        ("extreme", extreme_rows(features, evaluation, known, rng)),
        *(("huge", huge_rows(features, evaluation, size, rng)) for size in HUGE),
    ]
    # An evaluation row stays in any case: quality is judged on all of them.
    chosen: list[tuple[Kind, Rows]] = [("evaluation", evaluation)]
    chosen += [(kind, rows[is_taken(rows, features)]) for kind, rows in parts]
    with one_thread():
        answered = [(kind, rows, *_answered(model, kind, rows)) for kind, rows in chosen]
    return Probes(
        rows=np.concatenate([rows[kept] for _, rows, kept, _, _ in answered]),
        kinds=tuple(kind for kind, _, kept, _, _ in answered for _ in range(int(kept.sum()))),
        expected=np.concatenate([expected[kept] for _, _, kept, expected, _ in answered]),
        notes=tuple(dict.fromkeys(note for *_, note in answered if note)),
    )


def answers_of(model: FittedModel, rows: Rows) -> Outputs:
    """Let the original answer rows without a word about overflows; raise ModelError when it refuses them."""
    if len(rows) == 0:
        return np.zeros((0, model.n_outputs))
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            return model.outputs(rows)
    except ValueError as error:
        hint = ""
        if np.isnan(rows).any():
            flagged = [f.name for f in model.features if f.on_missing == "flag"]
            hint = f"; features {flagged[:5]} may be missing: add an imputer, or set on_missing = 'refuse'"
        raise ModelError(f"the model refuses its own rows: {str(error).splitlines()[0]}{hint}") from error


def _threshold_rows(program: Program, model: FittedModel, rows: Rows, rng: np.random.Generator) -> Rows:
    return threshold_rows(program, rows, rng, _THRESHOLD_ROWS, frozenset(flagged_of(model.features)))


def _answered(model: FittedModel, kind: Kind, rows: Rows) -> tuple[NDArray[np.bool_], Outputs, str]:
    """Return which rows the original answers with numbers, its answers, and a note about the others."""
    try:
        expected = answers_of(model, rows)
    except ModelError as error:
        if kind in _MUST_ANSWER:
            raise
        note = f"{kind} rows left out: {error}"
        return np.zeros(len(rows), dtype=bool), np.zeros((len(rows), model.n_outputs)), note
    is_number: NDArray[np.bool_] = np.asarray(np.isfinite(expected).all(axis=1))
    if kind in _MUST_ANSWER and not is_number.all():
        worst = int(np.argmin(is_number))
        raise ModelError(f"the model answers {expected[worst].tolist()[:5]} to {kind} row {worst}, which is no number")
    lost = int((~is_number).sum())
    return is_number, expected, f"{lost} {kind} rows left out: the original answers no number" if lost else ""
