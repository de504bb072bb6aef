"""The life of a device that is cut afterwards: from an empty disk over two updates, a failed one and a rollback."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.messages import BundleRef, Command, Desired, RollBack
from broker.topics import Channel
from edge_agent.clock import SystemClock
from tests.crash.oplog import Operation, read_operations
from tests.crash.shim import Shim
from tests.crash.witness import DEVICE, Witness
from tests.crash.world import World
from tests.waiting import wait_until

REPOSITORY: Final = Path(__file__).resolve().parents[2]
STEP_S: Final = 60.0


@dataclass(frozen=True)
class Recording:
    """What happened.

    Attributes:
        disk: the device's disk at the end.
        operations: all that made it so, from an empty one.
        witness: what the receiver got, and when.
        orders: each order, and how long the log was when it was published; oldest first.
        rows: how many rows are stored.
    """

    disk: Path
    operations: tuple[Operation, ...]
    witness: Witness
    orders: tuple[tuple[int, Desired], ...]
    rows: int

    def order_at(self, position: int) -> Desired | None:
        """Return the order that was retained when the log was so long."""
        return next((order for at, order in reversed(self.orders) if at <= position), None)


def start_recorded(settings: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start an agent that notes what its spool promises."""
    with (settings.parent / "agent.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.crash.recorded_agent", "run", "--settings", str(settings)],
            stdout=log,
            stderr=log,
            cwd=REPOSITORY,
            env=os.environ | environment | {"PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1"},
        )


def record(world: World, shim: Shim, folder: Path) -> Recording:
    """Run an agent through its life and write down what it did to its disk."""
    disk, log = folder / "disk", folder / "operations"
    disk.mkdir(parents=True)
    log.touch()
    settings = world.write_settings(folder, fleet="recorded", source="rows_per_second = 150")
    witness = Witness(world.broker.endpoint, "recorded", lambda: log.stat().st_size)
    witness.start()
    orders: list[tuple[int, Desired]] = []
    process = start_recorded(settings, shim.watching(disk, log))
    try:
        wait_until(lambda: witness.is_connected, STEP_S, "the receiver is connected")
        _live(world, witness, log, orders)
        process.send_signal(signal.SIGTERM)
        code = process.wait(STEP_S)
        if code:
            raise AssertionError(f"the recorded agent ended with {code}: {settings.parent / 'agent.log'}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        witness.close()
    return Recording(disk, tuple(read_operations(log)), witness, tuple(orders), witness.rows(DEVICE))


def _live(world: World, witness: Witness, log: Path, orders: list[tuple[int, Desired]]) -> None:
    first, second, failing = world.bundles

    def order(bundle: BundleRef) -> None:
        desired = Desired(bundle, f"order-{len(orders) + 1}", SystemClock().utc_s(), "test", "because")
        # Before it is published: a cut may come between.
        orders.append((log.stat().st_size, desired))
        witness.publish(DEVICE, Channel.DESIRED, desired)

    def wait_for(kind: str, n: int) -> None:
        wait_until(lambda: len(witness.events(DEVICE, kind)) >= n, STEP_S, f"event {kind} number {n}")

    order(first)
    wait_for("committed", 1)
    rows = witness.rows(DEVICE)
    wait_until(lambda: witness.rows(DEVICE) >= rows + 60, STEP_S, "rows are stored")
    order(second)
    wait_for("committed", 2)
    order(failing)
    wait_for("rolled_back", 1)
    command = Command("back", SystemClock().utc_s() + 60.0, "test", RollBack("to see it"))
    witness.publish(DEVICE, Channel.COMMAND, command)
    wait_for("rolled_back", 2)
    rows = witness.rows(DEVICE)
    wait_until(lambda: witness.rows(DEVICE) >= rows + 60, STEP_S, "rows are stored")
