"""Ten thousand devices lose their broker at once and come back as fast as one broker takes them: simulated.

The clients wait as the link of a device does (`return_s`, `failures_after`, a minute for the handshake). The broker
takes connections one after the other, each for the processor time that was measured (docs/scale.md); who has given up
meanwhile costs it all the same.
"""

import heapq
import math
import random
import statistics
from collections import Counter
from dataclasses import dataclass, field

import pytest

from broker.backoff import CAP_S, failures_after, return_s
from broker.link import HANDSHAKE_S
from edge_agent.settings import BrokerSettings

FLEET = 10_000
CONNECT_S = 0.00185
CAPACITY_PER_S = 1 / CONNECT_S
REFUSED_S = 0.001
SPREAD_S = BrokerSettings().spread_s
OUTAGES_S = (0.0, 1.0, 3.0, 10.0, 30.0, 120.0, 600.0)


@dataclass(slots=True)
class Outcome:
    """What happened, in seconds since the broker was there again.

    Attributes:
        attempts: in each second; before that they are below 0.
        given_up: attempts that the broker worked for in vain.
        back_s: when each device was back.
    """

    attempts: Counter[int] = field(default_factory=Counter)
    given_up: int = 0
    back_s: list[float] = field(default_factory=list)


class Fixed(random.Random):
    """No chance at all: everybody waits for as long."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - random.Random's signature
        return b


def outage(
    back_s: float, *, spread_s: float = SPREAD_S, connect_s: float = CONNECT_S, rng: random.Random | None = None
) -> Outcome:
    """Let all links end at once, and the broker be there again after so long."""
    rng = rng or random.Random(1)
    outcome = Outcome()
    # All were linked for an hour.
    failures = [failures_after(0, 3600.0)] * FLEET
    due = [(return_s(failures[device], rng, spread_s=spread_s), device) for device in range(FLEET)]
    heapq.heapify(due)
    free_s = back_s
    # Who asks faster than the broker takes them would go on for ever.
    while due and outcome.given_up < FLEET:
        now_s, device = heapq.heappop(due)
        outcome.attempts[math.floor(now_s - back_s)] += 1
        over_s = now_s + REFUSED_S
        if now_s >= back_s:
            served_s = max(free_s, now_s) + connect_s
            free_s = served_s
            if served_s - now_s <= HANDSHAKE_S:
                outcome.back_s.append(served_s - back_s)
                continue
            outcome.given_up += 1
            over_s = now_s + HANDSHAKE_S
        failures[device] = failures_after(failures[device], 0.0)
        heapq.heappush(due, (over_s + return_s(failures[device], rng, spread_s=spread_s), device))
    return outcome


@pytest.mark.parametrize("back_s", OUTAGES_S)
def test_no_second_of_any_outage_nor_after_it_has_more_attempts_than_an_even_return_and_a_tenth(back_s):
    """An even return of 10,000 within 15 s is 667 a second."""
    assert max(outage(back_s).attempts.values()) < 1.1 * FLEET / SPREAD_S


def test_while_the_broker_is_gone_for_ten_minutes_no_second_has_more_attempts_than_it_could_take():
    attempts = outage(600.0).attempts
    # By then all wait for half a minute at most, and for half of it at least.
    assert max(attempts[second] for second in range(-480, 0)) < CAPACITY_PER_S


@pytest.mark.parametrize("back_s", OUTAGES_S)
def test_all_are_back_half_a_minute_after_the_broker_is_and_nobody_gives_up_in_vain(back_s):
    """Half of them within 15 s; one broker would need 18.5 s for all, whenever they came."""
    outcome = outage(back_s)
    assert len(outcome.back_s) == FLEET
    assert max(outcome.back_s) < max(CAP_S, FLEET * CONNECT_S) + 1.0
    assert statistics.median(outcome.back_s) < SPREAD_S
    assert outcome.given_up == 0


@pytest.mark.parametrize("back_s", OUTAGES_S)
def test_a_broker_that_takes_a_tenth_of_the_links_asks_for_ten_times_the_spread(back_s):
    """The setting goes with the size of the fleet: here as one of 100,000 at a broker of the measured speed."""
    outcome = outage(back_s, spread_s=10 * SPREAD_S, connect_s=10 * CONNECT_S)
    assert max(outcome.attempts.values()) < 1.5 * FLEET / (10 * SPREAD_S)
    assert outcome.given_up == 0


def test_without_the_spread_most_would_come_in_the_first_second_after_a_restart():
    """What the simulation shows is not true of any wait."""
    attempts = outage(1.0, spread_s=0.5).attempts
    assert max(attempts.values()) > 5 * FLEET / SPREAD_S


def test_without_chance_all_would_come_in_the_same_second():
    attempts = outage(600.0, rng=Fixed()).attempts
    assert max(attempts.values()) == FLEET
