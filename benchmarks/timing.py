"""Times two callables by turns, so that whatever else the machine does slows both alike."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

_US_PER_NS = 1e-3


@dataclass(frozen=True, slots=True)
class Pair:
    """Medians of one call, in microseconds.

    Attributes:
        ours_us: Median of ours.
        peer_us: Median of the peer's.
        runs: How many rounds both medians are taken over.
    """

    ours_us: float
    peer_us: float
    runs: int


def alternate(
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    rounds: int,
    calls_per_round: int = 1,
    warm_up: int = 5,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> Pair:
    """Call both in turns and compare their medians.

    Args:
        ours: One call of ours.
        peer: One call of what we compare with.
        rounds: How often each side is timed; 30 at least for a median that means something.
        calls_per_round: Calls within one timing; raise it for calls below some microseconds.
        warm_up: Rounds that are not counted.
        clock_ns: What tells the time; `time.thread_time_ns` counts what the thread itself computes, for calls that wait
            for nothing, whoever else has the processor.
    """
    ours_ns: list[int] = []
    peer_ns: list[int] = []
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for turn in range(-warm_up, rounds):
            # Who goes first changes, for the second finds warm caches.
            sides = [(ours, ours_ns), (peer, peer_ns)]
            for call, times_ns in sides if turn % 2 else reversed(sides):
                elapsed_ns = _time_ns(call, calls_per_round, clock_ns)
                if turn >= 0:
                    times_ns.append(elapsed_ns)
    finally:
        if was_enabled:
            gc.enable()
    scale = _US_PER_NS / calls_per_round
    return Pair(statistics.median(ours_ns) * scale, statistics.median(peer_ns) * scale, rounds)


def _time_ns(call: Callable[[], object], n_calls: int, clock_ns: Callable[[], int]) -> int:
    start_ns = clock_ns()
    for _ in range(n_calls):
        call()
    return clock_ns() - start_ns
