"""What becomes of an order."""

import pytest

from broker.messages import BundleRef, Desired
from edge_agent.update.policy import Answer, decide
from edge_agent.update.record import Content, Record, Refusal, Roles, SlotName, Slots
from edge_agent.update.states import State


def desired(version: int, order_id: str = "new", name: str = "toy") -> Desired:
    return Desired(BundleRef(name, version), order_id, 0.0, "test")


def content(version: int) -> Content:
    return Content(BundleRef("toy", version), "onnx-fp32", "0" * 64)


def record(state: State, order: Desired | None = None, refusals: tuple[Refusal, ...] = ()) -> Record:
    """Version 5 is active, 4 previous; 6 is the candidate of an update under way."""
    candidate: SlotName | None = None if state is State.IDLE else "c"
    return Record(
        state=state,
        roles=Roles("a", "b", candidate),
        slots=Slots(content(5), content(4), content(6) if candidate else None),
        order=order,
        refusals=refusals,
    )


@pytest.mark.parametrize(
    ("state", "version", "answer"),
    [
        (State.IDLE, 6, Answer.ACCEPT),
        (State.IDLE, 5, Answer.ALREADY_RUNNING),
        (State.IDLE, 4, Answer.ACCEPT),
        (State.IDLE, 1, Answer.ACCEPT),
        (State.FETCHING, 7, Answer.ACCEPT),
        (State.FETCHING, 5, Answer.WITHDRAW),
        (State.STAGED, 7, Answer.LATER),
        (State.STAGED, 5, Answer.LATER),
        (State.TRIAL, 7, Answer.LATER),
        (State.TRIAL, 6, Answer.LATER),
        (State.TRIAL, 5, Answer.GO_BACK),
        (State.ROLLING_BACK, 5, Answer.LATER),
        (State.ROLLING_BACK, 7, Answer.LATER),
    ],
)
def test_an_order_is_answered_by_state_and_bundle(state: State, version: int, answer: Answer):
    under_way = None if state is State.IDLE else desired(6, "old")
    assert decide(desired(version), record(state, under_way), "toy").answer is answer


def test_the_order_that_is_being_fetched_is_not_fetched_anew():
    order = desired(6, "same")
    assert decide(order, record(State.FETCHING, order), "toy").answer is Answer.LATER


@pytest.mark.parametrize("state", list(State))
def test_a_refused_bundle_waits_for_a_new_order(state: State):
    refusals = (Refusal(BundleRef("toy", 6), "old", "it was altered"),)
    again = decide(desired(6, "old"), record(state, refusals=refusals), "toy")
    assert again.answer is Answer.REFUSED_BEFORE
    assert again.reason == "it was altered"
    assert decide(desired(6, "new"), record(State.IDLE, refusals=refusals), "toy").answer is Answer.ACCEPT
    assert decide(desired(7, "old"), record(State.IDLE, refusals=refusals), "toy").answer is Answer.ACCEPT


def test_a_bundle_of_another_model_is_refused():
    decision = decide(desired(6, name="other"), record(State.IDLE), "toy")
    assert decision.answer is Answer.REFUSE
    assert "'toy'" in decision.reason


def test_a_device_without_a_bundle_accepts_any_version():
    assert decide(desired(1), Record(), "toy").answer is Answer.ACCEPT
