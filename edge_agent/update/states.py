"""The states of an update as one table; a pair that is not in it is a mistake and raises."""

import enum
from typing import Final

from edge_agent.errors import AgentError


class State(enum.Enum):
    """Where an update stands; also what ``Status.update_state`` says."""

    IDLE = "idle"  # nothing under way: what is active is committed, or there is nothing yet
    FETCHING = "fetching"  # a child process fetches a bundle into the candidate slot and proves it there
    STAGED = "staged"  # the candidate is proved, and not yet run
    TRIAL = "trial"  # the candidate scores; the active slot waits to take over again
    SHADOW = "shadow"  # the candidate is proved and scores beside what is committed, for comparison alone
    ROLLING_BACK = "rolling_back"  # the active slot shall score again, and does not yet


class Happening(enum.Enum):
    """What moves an update on."""

    ORDERED = "ordered"  # an accepted order to run a bundle
    PROVED = "proved"  # signed, listed, of the right hash, fit for this device, golden rows right
    SHADOWED = "shadowed"  # the same, of a bundle that was ordered for comparison alone
    REFUSED = "refused"  # one of these does not hold
    UNREACHABLE = "unreachable"  # the road to the repository is bad: later
    WITHDRAWN = "withdrawn"  # a newer order asks for what runs already; or a shadow is wanted no longer
    ACTIVATED = "activated"  # the candidate takes over the scoring
    HEALTHY = "healthy"  # its trial ended well
    FAILED = "failed"  # its trial ended badly, or it could not be opened
    BACK_ORDERED = "back_ordered"  # somebody wants the previous bundle back
    RESTORED = "restored"  # the active slot scores again
    RESTARTED = "restarted"  # the agent was started anew in the midst of it


class ImpossibleHappeningError(AgentError):
    """Something happened that cannot happen in this state: a mistake in this program."""


TABLE: Final[dict[tuple[State, Happening], State]] = {
    (State.IDLE, Happening.ORDERED): State.FETCHING,
    (State.IDLE, Happening.BACK_ORDERED): State.ROLLING_BACK,
    (State.IDLE, Happening.RESTARTED): State.IDLE,
    (State.FETCHING, Happening.ORDERED): State.FETCHING,  # a newer order takes the place of the older
    (State.FETCHING, Happening.PROVED): State.STAGED,
    (State.FETCHING, Happening.SHADOWED): State.SHADOW,
    (State.FETCHING, Happening.REFUSED): State.IDLE,
    (State.FETCHING, Happening.UNREACHABLE): State.IDLE,
    (State.FETCHING, Happening.WITHDRAWN): State.IDLE,
    (State.FETCHING, Happening.RESTARTED): State.IDLE,
    (State.STAGED, Happening.ACTIVATED): State.TRIAL,
    (State.STAGED, Happening.REFUSED): State.IDLE,
    (State.STAGED, Happening.RESTARTED): State.STAGED,
    (State.TRIAL, Happening.HEALTHY): State.IDLE,
    (State.TRIAL, Happening.FAILED): State.ROLLING_BACK,
    (State.TRIAL, Happening.RESTARTED): State.TRIAL,
    (State.SHADOW, Happening.ORDERED): State.FETCHING,  # there is one free slot, and an update needs it
    (State.SHADOW, Happening.WITHDRAWN): State.IDLE,
    (State.SHADOW, Happening.RESTARTED): State.SHADOW,
    (State.ROLLING_BACK, Happening.RESTORED): State.IDLE,
    (State.ROLLING_BACK, Happening.RESTARTED): State.IDLE,  # every start runs the active slot
}


def next_state(state: State, happening: Happening) -> State:
    """Return the state that follows; raise ImpossibleHappeningError for a pair that is not in the table."""
    try:
        return TABLE[state, happening]
    except KeyError:
        msg = f"update state {state.value!r}: {happening.value!r} cannot happen here"
        raise ImpossibleHappeningError(msg) from None
