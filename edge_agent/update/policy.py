"""Decides what to do about an order, from the order and the updater's record; fetches nothing."""

import enum
from typing import Final

from msgspec import Struct

from broker.messages import Desired
from edge_agent.update.record import Record
from edge_agent.update.states import State


class Answer(enum.Enum):
    """What to do about an order."""

    ACCEPT = "accept"  # fetch it now, in place of an older order that is still being fetched
    ALREADY_RUNNING = "already running"  # committed and scoring: nothing to do
    WITHDRAW = "withdraw"  # what is ordered runs already: stop fetching another one
    GO_BACK = "go back"  # what is ordered is committed and another one is on trial: end that trial
    LATER = "later"  # an update is under way that must end first; ask again then
    REFUSED_BEFORE = "refused before"  # this bundle failed under this very order: wait for a new one
    REFUSE = "refuse"  # it can never be carried out here


class Decision(Struct, frozen=True):
    """An answer, and why."""

    answer: Answer
    reason: str


def decide(desired: Desired, record: Record, model: str) -> Decision:
    """Return what to do about `desired`.

    An older version is no reason to refuse: an order for it is a rollback, and whether it is still to be trusted is
    for the repository's metadata to say.

    Args:
        desired: the order.
        record: where the updater stands.
        model: name of the bundles that this device takes.
    """
    if desired.bundle.name != model:
        return Decision(Answer.REFUSE, f"this device takes bundles named {model!r}, the order names {desired.bundle}")
    for refusal in record.refusals:
        if refusal.bundle == desired.bundle and refusal.order_id == desired.order_id:
            return Decision(Answer.REFUSED_BEFORE, refusal.reason)
    if record.active is not None and record.active.bundle == desired.bundle:
        # The fetching of a shadow is none of this order's business.
        state = State.IDLE if record.shadow_rows is not None else record.state
        return _WHEN_ACTIVE.get(state, _LATER)
    is_under_way = record.order is not None and record.order.order_id == desired.order_id
    is_free = record.state in {State.IDLE, State.SHADOW}
    if is_free or (record.state is State.FETCHING and not is_under_way):
        return Decision(Answer.ACCEPT, f"ordered by {desired.by}: {desired.reason}")
    return _LATER


_LATER: Final = Decision(Answer.LATER, "the update that is under way must end first")
# An order for what is committed already, by what is under way.
_WHEN_ACTIVE: Final = {
    State.IDLE: Decision(Answer.ALREADY_RUNNING, "it runs already"),
    State.FETCHING: Decision(Answer.WITHDRAW, "it runs already and is wanted again"),
    State.TRIAL: Decision(Answer.GO_BACK, "ordered back while another bundle was on trial"),
}
