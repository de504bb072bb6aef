import pytest

from broker.topics import DeviceId
from trainer.continuous.story import (
    TABLE,
    Happening,
    ImpossibleHappeningError,
    State,
    Story,
    advance,
    is_cooled,
    is_overdue,
    next_state,
    split_ask,
)

A, B, C = DeviceId("a"), DeviceId("b"), DeviceId("c")
ALL = frozenset({A, B, C})


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("happening", list(Happening))
def test_a_pair_that_is_not_in_the_table_raises(state, happening):
    if (state, happening) in TABLE:
        assert next_state(state, happening) is TABLE[state, happening]
    else:
        with pytest.raises(ImpossibleHappeningError, match=happening.value):
            next_state(state, happening)


def test_every_state_can_be_reached_and_left():
    assert set(TABLE.values()) == {state for state, _ in TABLE} == set(State)


def test_a_run_is_only_reached_by_way_of_asking_confirming_and_gathering_or_by_what_the_project_names():
    ways = {pair for pair, state in TABLE.items() if state is State.RUNNING}
    assert ways == {(State.COLLECTING, Happening.GATHERED), (State.WATCHING, Happening.TRIGGERED)}
    assert [pair for pair, state in TABLE.items() if state is State.COLLECTING] == [(State.ASKED, Happening.CONFIRMED)]


def test_a_turn_notes_when_it_was_and_how_far_the_store_had_come():
    story = advance(Story(told=("x",)), Happening.SIGN, now_utc_s=5.0, window=7, sample=9)
    assert (story.state, story.entered_utc_s, story.entered_window, story.entered_sample) == (State.ASKED, 5.0, 7, 9)
    assert story.judged_window == 7
    assert story.told == ("x",)


@pytest.mark.parametrize(
    ("windows", "online", "is_over"),
    [
        ({}, ALL, False),
        ({A: 3, B: 3, C: 2}, ALL, False),
        ({A: 3, B: 3, C: 3}, ALL, True),
        ({A: 3, B: 3}, frozenset({A, B}), True),
        ({A: 8, B: 8}, ALL, False),
        ({A: 9, B: 8}, ALL, True),
        ({}, frozenset(), False),
    ],
)
def test_cooling_down_waits_for_every_device_that_is_there_but_not_for_ever(windows, online, is_over):
    assert is_cooled(windows, online, 3) is is_over


def test_no_cool_down_is_over_at_once():
    assert is_cooled({}, ALL, 0)


@pytest.mark.parametrize(("windows", "is_late"), [({}, False), ({A: 19, B: 19}, False), ({A: 20}, True)])
def test_labels_are_overdue_after_windows_of_any_one_device(windows, is_late):
    assert is_overdue(windows, 20) is is_late


@pytest.mark.parametrize(
    ("rows", "devices", "parts"),
    [
        (30, ALL, {A: 10, B: 10, C: 10}),
        (31, ALL, {A: 11, B: 10, C: 10}),
        (2, ALL, {A: 1, B: 1}),
        (0, ALL, {}),
        (30, frozenset(), {}),
    ],
)
def test_an_ask_is_split_evenly(rows, devices, parts):
    assert split_ask(rows, devices) == parts
