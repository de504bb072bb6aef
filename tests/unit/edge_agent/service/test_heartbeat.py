"""The manager hears that the agent lives only while scoring and housekeeping go round."""

from collections.abc import Iterator

import pytest

from edge_agent.service.heartbeat import PLAIN_S, SHARE, Heartbeat
from edge_agent.service.notify import Notifier
from tests.service_manager import ListeningManager, abstract_name
from tests.unit.edge_agent.examples import ManualClock

WATCHDOG_S = 60.0


class Bench:
    """A heartbeat whose scoring goes round when the test says so."""

    def __init__(self, manager: ListeningManager, watchdog_s: float | None) -> None:
        self.manager = manager
        self.clock = ManualClock()
        self.rounds = 0
        self.heartbeat = Heartbeat(
            Notifier(manager.address), self.clock, watchdog_s, rounds=lambda: self.rounds, text=lambda: "scoring"
        )

    def pass_by(self, seconds: float, *, scores: bool = True) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            self.rounds += scores
            self.heartbeat.beat()


@pytest.fixture
def manager() -> Iterator[ListeningManager]:
    with ListeningManager(abstract_name()) as manager:
        yield manager


def test_it_is_ready_once_scoring_went_round_and_not_before(manager: ListeningManager):
    bench = Bench(manager, WATCHDOG_S)
    bench.pass_by(100, scores=False)
    assert manager.messages == []
    bench.pass_by(1)
    assert manager.messages == [{"READY": "1", "STATUS": "scoring"}, {"WATCHDOG": "1", "STATUS": "scoring"}]


def test_it_beats_four_times_in_the_watchdog_s_time(manager: ListeningManager):
    bench = Bench(manager, WATCHDOG_S)
    bench.pass_by(1 + WATCHDOG_S)
    assert manager.times("WATCHDOG") == 1 + 1 / SHARE
    assert manager.times("READY") == 1


def test_scoring_that_hangs_ends_the_beats_and_one_that_goes_on_begins_them_at_once(manager: ListeningManager):
    bench = Bench(manager, WATCHDOG_S)
    bench.pass_by(1)
    bench.pass_by(1000, scores=False)
    assert manager.times("WATCHDOG") == 1
    bench.pass_by(1)
    assert manager.times("WATCHDOG") == 2


def test_without_a_watchdog_the_status_is_still_told(manager: ListeningManager):
    bench = Bench(manager, None)
    bench.pass_by(1 + 3 * PLAIN_S)
    assert manager.times("STATUS") == 1 + 1 + 3
