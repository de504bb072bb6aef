"""What must be carried out again? A pure decision over keys and records.

A step is kept when it is finished, its key is what it was, and its files are whole. Because the key holds the digests
of what the steps before it *made*, a step that is carried out again and makes the same stops the wave there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from trainer.pipeline.keys import StepKey
from trainer.pipeline.step import B, Step

NOT_DONE = "it was not finished yet"
KEPT = "nothing that it depends on has changed"


@dataclass(frozen=True, slots=True)
class Found:
    """What stands of a finished step.

    Attributes:
        key: that it was made under; None: an earlier release did not write it down.
        is_intact: whether its files are what it wrote.
    """

    key: StepKey | None
    is_intact: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a step.

    Attributes:
        action: ``keep``, ``run``, or ``depends``: on what a step before it will make.
        why: for people.
    """

    step: str
    action: Literal["keep", "run", "depends"]
    why: str


def judge(name: str, key: StepKey, found: Found | None) -> Verdict:
    """Decide about one step whose steps before it are done."""
    if found is None:
        return Verdict(name, "run", NOT_DONE)
    if found.key is None:
        return Verdict(name, "run", "an earlier release of fieldloop recorded it, without what it depends on")
    changes = key.changes_since(found.key)
    if changes:
        return Verdict(name, "run", "; ".join(changes))
    if not found.is_intact:
        return Verdict(name, "run", "its files are not what it wrote")
    return Verdict(name, "keep", KEPT)


def plan(
    steps: Iterable[Step[B]], keys: Mapping[str, StepKey], found: Mapping[str, Found | None]
) -> tuple[Verdict, ...]:
    """Tell beforehand what becomes of every step.

    Args:
        steps: in order.
        keys: of each step, if those before it make what they made.
        found: what stands of each step.
    """
    verdicts: dict[str, Verdict] = {}
    for step in steps:
        verdict = judge(step.name, keys[step.name], found.get(step.name))
        moving = [name for name in step.after if name in verdicts and verdicts[name].action != "keep"]
        if verdict.action == "keep" and moving:
            verdict = Verdict(step.name, "depends", f"on what {' and '.join(moving)} will make")
        verdicts[step.name] = verdict
    return tuple(verdicts.values())
