"""Ten thousand devices lose their broker at once and come back as fast as one broker takes them: simulated.

The clients wait as `broker.client.WireClient` does (`backoff_s`, `failures_after`, a minute for the handshake). The
broker takes connections one after the other, each for the processor time that was measured (docs/scale.md); who has
given up meanwhile costs it all the same.
"""

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from broker.backoff import CAP_S, backoff_s, failures_after
from broker.link import HANDSHAKE_S

FLEET = 10_000
CONNECT_S = 0.00185
CAPACITY_PER_S = 1 / CONNECT_S
REFUSED_S = 0.001


@dataclass(slots=True)
class Outcome:
    """What happened, in seconds since the broker died.

    Attributes:
        attempts: in each second.
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


def outage(back_s: float, rng: random.Random | None = None) -> Outcome:
    """Let all links end at once, and the broker be there again after so long."""
    rng = rng or random.Random(1)
    outcome = Outcome()
    # All were linked for an hour.
    failures = [failures_after(0, 3600.0)] * FLEET
    due = [(backoff_s(failures[device], rng), device) for device in range(FLEET)]
    heapq.heapify(due)
    free_s = back_s
    while due:
        now_s, device = heapq.heappop(due)
        outcome.attempts[int(now_s)] += 1
        over_s = now_s + REFUSED_S
        if now_s >= back_s:
            served_s = max(free_s, now_s) + CONNECT_S
            free_s = served_s
            if served_s - now_s <= HANDSHAKE_S:
                outcome.back_s.append(served_s)
                continue
            outcome.given_up += 1
            over_s = now_s + HANDSHAKE_S
        failures[device] = failures_after(failures[device], 0.0)
        heapq.heappush(due, (over_s + backoff_s(failures[device], rng), device))
    return outcome


def test_while_the_broker_is_gone_for_ten_minutes_no_second_has_more_attempts_than_it_could_take():
    attempts = outage(600.0).attempts
    # By then all wait for half a minute at most, and for half of it at least.
    assert max(attempts[second] for second in range(120, 600)) < CAPACITY_PER_S


@pytest.mark.parametrize("back_s", [1.0, 10.0, 60.0, 600.0])
def test_all_are_back_soon_after_the_broker_is_and_nobody_gives_up_in_vain(back_s):
    outcome = outage(back_s)
    assert len(outcome.back_s) == FLEET
    assert max(outcome.back_s) - back_s < FLEET * CONNECT_S + CAP_S
    assert outcome.given_up == 0


def test_without_chance_all_would_come_in_the_same_second():
    """What the simulation shows is not true of any fleet."""
    attempts = outage(600.0, rng=Fixed()).attempts
    assert max(attempts[second] for second in range(120, 600)) == FLEET
