"""What follows from the end of a production run: the turn of the story, and whether people must hear of it. Pure."""

from dataclasses import dataclass

from trainer.continuous.runner import RunOutcome
from trainer.continuous.story import Happening, Story


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, for the story.

    Attributes:
        alert: kind of the alert that tells people; empty: nobody must hear of it.
        text: for people.
    """

    happening: Happening
    alert: str
    text: str


def read_ending(story: Story, outcome: RunOutcome) -> Ended:
    """Return what follows from the end of the story's run."""
    because = because_of(story)
    if outcome.kind == "promoted":
        return Ended(Happening.PROMOTED, "", f"Version {outcome.version} passed the gate: {outcome.reason}")
    if outcome.kind == "waits":
        # Whatever the trigger was: nothing happens until somebody has heard of it.
        text = f"{because}, and version {outcome.version} waits for approval: {outcome.reason}. {story.reason}"
        return Ended(Happening.WAITS, "approval_wanted", text)
    if outcome.kind == "refused":
        # Where nothing was lost, a model that is no better than the one that runs is nobody's trouble.
        alert = "gate_refused" if story.trigger == "deterioration" else ""
        text = f"{because}, and the gate refused the retrained model: {outcome.reason}. {story.reason}"
        return Ended(Happening.REFUSED, alert, text)
    text = f"{because}, and the run for it broke off: {outcome.reason}. {story.reason}"
    return Ended(Happening.BROKE_OFF, "run_failed", text)


def because_of(story: Story) -> str:
    """Say what a run was wanted for."""
    return "A loss is confirmed" if story.trigger == "deterioration" else "A new model was due"
