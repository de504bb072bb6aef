"""What a step hands back to the runner, and what the runner tells whoever watches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

# What comes of a run: the gate refused its version, or it passed, and is the champion or waits for a person.
Ending = Literal["promoted", "waits", "refused"]

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """The value of a step for the next ones, and what is recorded of it.

    Attributes:
        params: what was chosen.
        metrics: what was measured.
        facts: the same for people, (name, text) in the order of interest.
    """

    value: T
    params: Mapping[str, str | int | float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Facts = ()


@dataclass(frozen=True, slots=True)
class StepEvent:
    """A step began, ended, or was found finished by an earlier attempt; `why`, where there is something to say."""

    step: str
    phase: Literal["started", "finished", "skipped"]
    seconds: float
    facts: Facts = ()
    why: str = ""


def ending_of(*, promoted: bool, waits: bool) -> Ending:
    """Return what came of a run, in one word."""
    if promoted:
        return "promoted"
    return "waits" if waits else "refused"
