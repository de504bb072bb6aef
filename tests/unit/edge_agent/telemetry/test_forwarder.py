"""Records go out in order, and again, until the receiver says that it stored them."""

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from broker.errors import LinkError
from broker.messages import Event, FeatureCounts, RecordKey, Stored, encode_body, parse
from broker.packs import MAX_COUNTS, unpack
from broker.topics import Channel
from edge_agent.errors import SpoolError
from edge_agent.telemetry.forwarder import BATCH, HELD_AT_MOST_S, HELD_FROM_S, MAX_BACKOFF, Forwarder
from edge_agent.telemetry.spool import Spool
from tests.unit.edge_agent.examples import ManualClock, window_of

RESEND_S = 10.0
LATE_S = RESEND_S * 1.25 + 0.1


class Wire:
    """A link that takes what it is given, unless it is cut."""

    def __init__(self) -> None:
        self.keys: list[RecordKey] = []
        self.messages = 0
        self.is_cut = False

    def __call__(self, channel: Channel, payload: bytes) -> None:
        if self.is_cut:
            raise LinkError("cut")
        self.messages += 1
        for each in unpack(channel, payload):
            key, _ = parse(channel, each)
            assert key is not None
            self.keys.append(key)

    def take(self) -> list[int]:
        taken = [key.sequence for key in self.keys]
        self.keys.clear()
        return taken


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.db", random.Random(1))
    yield opened
    opened.close()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def forwarder(spool: Spool, wire: Wire, clock: ManualClock) -> Forwarder:
    return Forwarder(spool, wire, clock, random.Random(2), resend_after_s=RESEND_S, in_flight=12)


def fill(spool: Spool, count: int) -> None:
    spool.put([(Channel.EVENTS, encode_body(Event("e", 1.0, "info", ""))) for _ in range(count)])


def drain(forwarder: Forwarder) -> None:
    while forwarder.step():
        pass


def test_nothing_is_sent_before_there_is_a_link(forwarder: Forwarder, spool: Spool, wire: Wire):
    fill(spool, 3)
    assert forwarder.step() == 0
    forwarder.on_link(True)
    drain(forwarder)
    assert wire.take() == [1, 2, 3]


def test_one_step_sends_a_batch_at_most_and_a_flight_is_bounded(forwarder: Forwarder, spool: Spool, wire: Wire):
    fill(spool, 30)
    forwarder.on_link(True)
    assert forwarder.step() == BATCH
    drain(forwarder)
    assert wire.take() == list(range(1, 13))
    forwarder.on_stored(Stored(spool.epoch, 5, 0.0))
    drain(forwarder)
    assert wire.take() == list(range(13, 18))


def test_being_sent_releases_nothing(forwarder: Forwarder, spool: Spool):
    fill(spool, 3)
    forwarder.on_link(True)
    drain(forwarder)
    assert spool.counts()[Channel.EVENTS].waiting == 3
    forwarder.on_stored(Stored(spool.epoch, 2, 0.0))
    forwarder.step()
    assert spool.counts()[Channel.EVENTS].waiting == 1


def test_without_progress_everything_after_the_mark_is_sent_again(
    forwarder: Forwarder, spool: Spool, wire: Wire, clock: ManualClock
):
    fill(spool, 4)
    forwarder.on_link(True)
    drain(forwarder)
    forwarder.on_stored(Stored(spool.epoch, 1, 0.0))
    drain(forwarder)
    wire.take()
    clock.advance(RESEND_S - 0.1)
    drain(forwarder)
    assert wire.take() == []
    clock.advance(LATE_S)
    drain(forwarder)
    assert wire.take() == [2, 3, 4]
    assert forwarder.resends == 1


def test_resending_becomes_rarer_while_nothing_comes_back_and_quick_again_with_progress(
    forwarder: Forwarder, spool: Spool, wire: Wire, clock: ManualClock
):
    fill(spool, 2)
    forwarder.on_link(True)
    drain(forwarder)
    wire.take()
    resent_at = []
    for second in range(1, 1200):
        clock.advance(1.0)
        drain(forwarder)
        if wire.take():
            resent_at.append(second)
    gaps = [b - a for a, b in itertools.pairwise(resent_at)]
    assert gaps[0] >= 2 * RESEND_S
    assert max(gaps) <= MAX_BACKOFF * RESEND_S * 1.25 + 1
    assert sorted(gaps[:3]) == gaps[:3]
    forwarder.on_stored(Stored(spool.epoch, 1, 0.0))
    forwarder.step()
    clock.advance(LATE_S)
    drain(forwarder)
    assert wire.take() == [2]


def test_a_new_link_sends_again_at_once_what_was_under_way(forwarder: Forwarder, spool: Spool, wire: Wire):
    fill(spool, 3)
    forwarder.on_link(True)
    drain(forwarder)
    forwarder.on_link(False)
    assert forwarder.step() == 0
    forwarder.on_link(True)
    drain(forwarder)
    assert wire.take() == [1, 2, 3, 1, 2, 3]


def test_a_link_that_refuses_is_tried_again_from_the_same_record(forwarder: Forwarder, spool: Spool, wire: Wire):
    fill(spool, 3)
    forwarder.on_link(True)
    wire.is_cut = True
    assert forwarder.step() == 0
    wire.is_cut = False
    drain(forwarder)
    assert wire.take() == [1, 2, 3]


def test_when_all_is_stored_it_is_quiet(forwarder: Forwarder, spool: Spool, wire: Wire, clock: ManualClock):
    fill(spool, 3)
    forwarder.on_link(True)
    drain(forwarder)
    forwarder.on_stored(Stored(spool.epoch, 3, 0.0))
    drain(forwarder)
    wire.take()
    clock.advance(100 * RESEND_S)
    drain(forwarder)
    assert wire.take() == []
    assert forwarder.resends == 0
    fill(spool, 1)
    drain(forwarder)
    assert wire.take() == [4]


def test_marks_of_another_epoch_are_ignored(forwarder: Forwarder, spool: Spool):
    fill(spool, 2)
    forwarder.on_link(True)
    drain(forwarder)
    forwarder.on_stored(Stored(spool.epoch ^ 1, 2, 0.0))
    forwarder.step()
    assert spool.counts()[Channel.EVENTS].waiting == 2


def test_a_new_epoch_sends_everything_under_its_new_name(forwarder: Forwarder, spool: Spool, wire: Wire):
    fill(spool, 2)
    forwarder.on_link(True)
    drain(forwarder)
    wire.take()
    old = spool.epoch
    forwarder.on_stored(Stored(old, 50, 0.0))
    drain(forwarder)
    assert spool.epoch != old
    assert [(key.epoch, key.sequence) for key in wire.keys] == [(spool.epoch, 1), (spool.epoch, 2)]


def test_a_mark_is_not_lost_when_the_disk_refuses_it(forwarder: Forwarder, spool: Spool):
    fill(spool, 2)
    forwarder.on_link(True)
    drain(forwarder)
    forwarder.on_stored(Stored(spool.epoch, 2, 0.0))
    spool._file.database.execute("PRAGMA query_only = on")
    with pytest.raises(SpoolError):
        forwarder.step()
    spool._file.database.execute("PRAGMA query_only = off")
    forwarder.step()
    assert spool.counts()[Channel.EVENTS].waiting == 0


# --- windows that go together ----------------------------------------------------------------------------------------

TOGETHER = 3
LENGTH_S = 600.0


@pytest.fixture
def patient(spool: Spool, wire: Wire, clock: ManualClock) -> Forwarder:
    """A forwarder that holds windows back, on a link that is up and has nothing under way."""
    forwarder = Forwarder(spool, wire, clock, random.Random(2), resend_after_s=RESEND_S, together=TOGETHER)
    forwarder.on_link(True)
    drain(forwarder)
    return forwarder


def put_windows(spool: Spool, count: int, length_s: float = LENGTH_S) -> None:
    for _ in range(count):
        window = msgspec.structs.replace(window_of(0, 3), ended_utc_s=1.7e9 + length_s)
        spool.put([(Channel.TELEMETRY, encode_body(window))])


def test_slow_windows_wait_until_they_are_enough_and_go_as_one_message(
    patient: Forwarder, spool: Spool, wire: Wire, clock: ManualClock
):
    for count in range(1, TOGETHER + 1):
        assert wire.messages == 0
        put_windows(spool, 1)
        clock.advance(LENGTH_S / 10)
        assert patient.step() == (TOGETHER if count == TOGETHER else 0)
    assert (wire.take(), wire.messages) == ([1, 2, 3], 1)


def test_a_window_without_company_waits_for_a_few_times_its_length_and_no_longer(
    patient: Forwarder, spool: Spool, wire: Wire, clock: ManualClock
):
    put_windows(spool, 1)
    assert patient.step() == 0
    clock.advance(LENGTH_S * TOGETHER - 1)
    # A second one does not make the first wait longer.
    put_windows(spool, 1)
    assert patient.step() == 0
    clock.advance(2)
    assert patient.step() == 2
    patient.on_stored(Stored(spool.epoch, 2, 0.0))
    put_windows(spool, 1)
    assert patient.step() == 0
    clock.advance(LENGTH_S * TOGETHER + 1)
    assert patient.step() == 1
    assert wire.take() == [1, 2, 3]


def test_what_waits_may_still_be_merged(patient: Forwarder, spool: Spool):
    put_windows(spool, 2)
    patient.step()
    assert spool._file.number("offered") == 0


@pytest.mark.parametrize("length_s", [HELD_FROM_S - 1, -5.0, 10 * HELD_AT_MOST_S])
def test_quick_windows_and_those_whose_clock_jumped_do_not_wait(patient: Forwarder, spool: Spool, length_s: float):
    put_windows(spool, 1, length_s)
    assert patient.step() == 1


def test_an_event_takes_along_the_windows_that_wait(patient: Forwarder, spool: Spool, wire: Wire):
    put_windows(spool, 1)
    assert patient.step() == 0
    fill(spool, 1)
    drain(patient)
    assert wire.take() == [1, 2]


@pytest.mark.parametrize("act", [lambda forwarder: forwarder.flush(), lambda forwarder: forwarder.on_link(True)])
def test_a_flush_and_a_new_link_let_nothing_wait(
    patient: Forwarder, spool: Spool, wire: Wire, act: Callable[[Forwarder], None]
):
    put_windows(spool, 1)
    assert patient.step() == 0
    act(patient)
    assert patient.step() == 1
    assert wire.take() == [1]


def test_what_was_sent_is_sent_again_in_time_while_another_window_waits(
    patient: Forwarder, spool: Spool, wire: Wire, clock: ManualClock
):
    put_windows(spool, TOGETHER)
    drain(patient)
    assert wire.take() == [1, 2, 3]
    put_windows(spool, 1)
    drain(patient)
    clock.advance(LATE_S)
    drain(patient)
    assert wire.take() == [1, 2, 3, 4]


def test_windows_that_cannot_be_packed_go_one_by_one(patient: Forwarder, spool: Spool, wire: Wire):
    unordered = msgspec.structs.replace(window_of(0, 3), latency=((5, 2), (4, 2)))
    spool.put([(Channel.TELEMETRY, encode_body(unordered)) for _ in range(TOGETHER)])
    drain(patient)
    assert (wire.take(), wire.messages) == ([1, 2, 3], 3)


def test_packs_keep_the_order_of_the_records_around_them(patient: Forwarder, spool: Spool, wire: Wire):
    put_windows(spool, 2)
    fill(spool, 1)
    put_windows(spool, 2)
    drain(patient)
    assert (wire.take(), wire.messages) == ([1, 2, 3, 4, 5], 3)


def test_windows_that_are_too_large_for_one_pack_go_in_smaller_ones(patient: Forwarder, spool: Spool, wire: Wire):
    large = FeatureCounts((4,) + (0,) * 999)
    window = msgspec.structs.replace(window_of(0, 3), features=(large,) * (MAX_COUNTS // 2000))
    spool.put([(Channel.TELEMETRY, encode_body(window)) for _ in range(TOGETHER)])
    drain(patient)
    assert (wire.take(), wire.messages) == ([1, 2, 3], 2)
