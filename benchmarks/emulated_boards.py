"""Cards in emulated boards, from their first start: when they score, and what their agent weighs.

A guest's clock may be years off, and says when its windows began and ended; this machine's says when they arrived. The
least difference between the two is what the guest's clock is off, to within a message's way.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from broker.messages import TelemetryWindow
from edge_agent.clock import SystemClock
from exporter.image.emulation.machines import MachineName
from tests.arm.system.board import Board
from tests.arm.system.world import CardWorld
from tests.crash.witness import Witness
from tests.waiting import wait_until

BOOT_S: Final = 600.0
# So many windows tell how far a guest's clock is off.
_WINDOWS: Final = 5
_CLOCK: Final = SystemClock()


@dataclass(frozen=True, slots=True)
class FirstScore:
    """When a board came to what, in seconds from QEMU's start.

    Attributes:
        score_s: its first row was scored.
        stored_s: its first window was stored by the fleet's server, of which it had to get a certificate before.
    """

    score_s: float
    stored_s: float


@contextmanager
def started_board(image: Path, machine: MachineName, folder: Path) -> Iterator[tuple[Board, float]]:
    """Start a board with a new card, and give it with the time of this machine's clock, UTC seconds."""
    board = Board(folder, image, machine)
    began_s = _CLOCK.utc_s()
    board.start()
    try:
        yield board, began_s
    finally:
        board.remove()


def first_score(world: CardWorld, image: Path, machine: MachineName, folder: Path) -> FirstScore:
    """Start a card for the first time, and see when it scores."""
    before = devices_of(world.witness)
    with started_board(image, machine, folder) as (board, began_s):
        device = wait_for_a_new_device(world.witness, before, board)
        wait_until(lambda: len(world.witness.windows(device)) >= _WINDOWS, BOOT_S, f"{device} sends windows")
        windows = arrivals(world.witness, device)
    off_s = min(arrived_s - window.ended_utc_s for window, arrived_s in windows)
    first, _ = windows[0]
    return FirstScore(first.started_utc_s + off_s - began_s, min(arrived_s for _, arrived_s in windows) - began_s)


def agent_pss_bytes(board: Board, samples: int, pause_s: float) -> float:
    """Return the median PSS of all processes of a board's agent, of which there is one between updates."""
    pause = threading.Event()
    taken = []
    for _ in range(samples):
        pause.wait(pause_s)
        told = board.run(
            "for pid in $(cat /sys/fs/cgroup/system.slice/fieldloop-agent.service/cgroup.procs); "
            "do grep ^Pss: /proc/$pid/smaps_rollup; done"
        )
        taken.append(sum(int(line.split()[1]) for line in told.splitlines() if line.startswith("Pss:")) * 1024)
    return float(median(taken))


def wait_for_a_new_device(witness: Witness, before: frozenset[str], board: Board) -> str:
    """Return the name under which a board enrolled."""
    wait_until(lambda: devices_of(witness) - before, BOOT_S, f"a board reports; {board.console[-3000:]}")
    (device,) = devices_of(witness) - before
    return device


def devices_of(witness: Witness) -> frozenset[str]:
    """Return the names of the devices that sent windows."""
    return frozenset(
        key.device for key, (_, body) in list(witness.records.items()) if isinstance(body, TelemetryWindow)
    )


def arrivals(witness: Witness, device: str) -> list[tuple[TelemetryWindow, float]]:
    """Return a device's windows in their order, each with the time of its arrival, UTC seconds."""
    keys = sorted(key for key in list(witness.records) if key.device == device)
    found = [(witness.records[key][1], witness.positions[key] / 1000) for key in keys]
    return [(body, at_s) for body, at_s in found if isinstance(body, TelemetryWindow)]
