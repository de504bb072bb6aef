"""Devices take turns: each in its own order, none behind another's backlog, nothing lost."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from broker.topics import DeviceId
from trainer.monitoring.turns import Turns

BUSY, CALM = DeviceId("busy"), DeviceId("calm")


def test_who_comes_behind_a_backlog_is_in_the_next_batch():
    turns: Turns[int] = Turns(share=3)
    turns.add((BUSY, number) for number in range(10))
    turns.add([(CALM, 100)])
    assert turns.take(50) == [0, 1, 2, 100]
    assert turns.take(50) == [3, 4, 5]
    assert len(turns) == 4


def test_who_got_nothing_of_a_full_batch_is_first_in_the_next():
    turns: Turns[int] = Turns(share=3)
    turns.add((DeviceId(f"press-{number}"), number) for number in range(5))
    assert turns.take(3) == [0, 1, 2]
    turns.add([(DeviceId("press-0"), 5)])
    assert turns.take(3) == [3, 4, 5]
    assert turns.take(3) == []


@given(
    rounds=st.lists(st.lists(st.integers(0, 4), max_size=40), max_size=5),
    share=st.integers(1, 5),
    most=st.integers(1, 9),
)
def test_nothing_is_lost_and_each_device_keeps_its_order(rounds, share, most):
    turns: Turns[tuple[int, int]] = Turns(share)
    given_out: Counter[int] = Counter()
    came: list[tuple[int, int]] = []
    for devices in [*rounds, *[[]] * 300]:
        items = []
        for device in devices:
            items.append((DeviceId(str(device)), (device, given_out[device])))
            given_out[device] += 1
        turns.add(items)
        batch = turns.take(most)
        assert len(batch) <= most
        assert max(Counter(device for device, _ in batch).values(), default=0) <= share
        came += batch
    assert len(turns) == 0
    for device, number in given_out.items():
        assert [place for each, place in came if each == device] == list(range(number))
