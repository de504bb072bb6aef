"""Two runs side by side: what was chosen, what was measured, and in which step they part."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from trainer.pipeline.runs import STEPS, RunOverview, StepRecord

How = Literal["missing", "ran", "ran again", "kept"]


class Pair(Struct, frozen=True):
    """One parameter or metric; None where a run has it not."""

    step: str
    name: str
    left: str | int | float | None
    right: str | int | float | None

    @property
    def is_alike(self) -> bool:
        """Whether both runs have the same."""
        return self.left == self.right


class StepPair(Struct, frozen=True):
    """One step of both runs.

    Attributes:
        left, right: what became of it: ``missing`` (not finished), ``ran`` (once), ``ran again`` (when the run was
            taken up), ``kept`` (by the attempt that came last to it).
        left_seconds, right_seconds: that it took when it was carried out.
        makes_the_same: whether what other steps read of it is the same; None where one has not finished it.
        changes: what it depended on in the second run otherwise than in the first.
    """

    step: str
    left: How
    right: How
    left_seconds: float | None
    right_seconds: float | None
    makes_the_same: bool | None
    changes: tuple[str, ...]


class Comparison(Struct, frozen=True):
    """Two runs side by side."""

    left: str
    right: str
    steps: tuple[StepPair, ...]
    parameters: tuple[Pair, ...]
    metrics: tuple[Pair, ...]


def compare_runs(left: RunOverview, right: RunOverview) -> Comparison:
    """Lay two runs side by side."""
    finished = {record.name for overview in (left, right) for record in overview.steps}
    return Comparison(
        left.head.run_id,
        right.head.run_id,
        tuple(_step(name, left, right) for name in STEPS if name in finished),
        _pairs({r.name: r.params for r in left.steps}, {r.name: r.params for r in right.steps}),
        _pairs({r.name: dict(r.metrics) for r in left.steps}, {r.name: dict(r.metrics) for r in right.steps}),
    )


def _step(name: str, left: RunOverview, right: RunOverview) -> StepPair:
    first, second = _record_of(left, name), _record_of(right, name)
    makes_the_same: bool | None = None
    changes: tuple[str, ...] = ()
    if first is not None and second is not None and first.key is not None and second.key is not None:
        makes_the_same, changes = first.outputs == second.outputs, second.key.changes_since(first.key)
    return StepPair(
        name,
        _how(left, first),
        _how(right, second),
        None if first is None else first.seconds,
        None if second is None else second.seconds,
        makes_the_same,
        changes,
    )


def _record_of(overview: RunOverview, name: str) -> StepRecord | None:
    return next((record for record in overview.steps if record.name == name), None)


def _how(overview: RunOverview, record: StepRecord | None) -> How:
    if record is None:
        return "missing"
    verdict = overview.verdict_on(record.name)
    if verdict is not None and not verdict.ran:
        return "kept"
    return "ran again" if overview.times_run(record.name) > 1 else "ran"


def _pairs(
    left: Mapping[str, Mapping[str, str | int | float]], right: Mapping[str, Mapping[str, str | int | float]]
) -> tuple[Pair, ...]:
    pairs = []
    for step in STEPS:
        ours, theirs = left.get(step, {}), right.get(step, {})
        pairs += [Pair(step, name, ours.get(name), theirs.get(name)) for name in dict.fromkeys([*ours, *theirs])]
    return tuple(pairs)
