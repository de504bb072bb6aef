"""Starts a device again after a cut, and says what it did wrong: the empty list is the only good answer."""

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.messages import Desired
from broker.topics import Channel
from edge_agent.clock import Clock
from edge_agent.update.slots import read_record
from tests.crash.disk import Image, write_image
from tests.crash.findings import (
    Finding,
    answers_that_do_not_fit,
    lost_records,
    lower_than_told,
    rows_that_do_not_fit,
    wrong_bundles,
)
from tests.crash.nursery import Nursery, Running, WholeProcess
from tests.crash.recording import Recording
from tests.crash.witness import DEVICE, Witness
from tests.crash.world import World
from tests.waiting import wait_until

# Seconds on a machine that has time; what waits so long does not come back.
RUN_S: Final = 120.0
# The recovered device scores so many rows more than were stored before.
MORE_ROWS: Final = 100


@dataclass(frozen=True)
class Scene:
    """A disk as a cut left it, and what the world knew of the device then.

    Attributes:
        number: names the device's new fleet, so that no two meet at the broker.
        position: how long the log was.
        promised: the records that `put` had returned from: hash by (epoch, sequence).
        is_whole: whether a process of its own is started, and has to carry the update through.
    """

    number: int
    image: Image
    position: int
    promised: dict[tuple[int, int], str]
    is_whole: bool


class Recovery:
    """Brings devices of one recording back; `examine` may be called by several threads."""

    def __init__(self, world: World, recording: Recording, nursery: Nursery, folder: Path, clock: Clock) -> None:
        """Join the parts; devices are made below ``folder``."""
        self._world = world
        self._recording = recording
        self._nursery = nursery
        self._folder = folder
        self._clock = clock

    def examine(self, scene: Scene) -> list[Finding]:
        """Start the device, let it score to the end of its rows, and compare; its folder is left where it failed."""
        folder = self._folder / f"cut{scene.number}"
        findings = self._run(scene, folder)
        if not findings:
            shutil.rmtree(folder)
        return findings

    def _run(self, scene: Scene, folder: Path) -> list[Finding]:
        write_image(scene.image, folder / "disk")
        state = folder / "disk" / "state"
        before = read_record(state)
        if before is None and (state / "update.json").exists():
            return [Finding("damaged", "update.json is torn")]
        fleet = f"cut{scene.number}"
        witness = Witness(self._world.broker.endpoint, fleet)
        witness.remember(self._recording.witness, scene.position)
        findings = list(lower_than_told(witness, before))
        began_utc_s = self._clock.utc_s()
        witness.start()
        try:
            wait_until(lambda: witness.is_connected, RUN_S, "the receiver is connected")
            order = self._recording.order_at(scene.position)
            if order is not None:
                witness.publish(DEVICE, Channel.DESIRED, order)
            findings += self._come_back(scene, folder, fleet, witness, order)
        finally:
            witness.close()
        findings += lost_records(scene.promised, witness, state)
        findings += [Finding("twice", f"another record came under {key}") for key in witness.conflicts]
        findings += rows_that_do_not_fit(witness)
        windows = witness.windows(DEVICE)
        findings += wrong_bundles([w for w in windows if w.started_utc_s > began_utc_s], before, order)
        findings += answers_that_do_not_fit(folder / "disk" / "answers.jsonl", windows)
        if (state / "spool.db.damaged").exists():
            findings.append(Finding("damaged", "the spool was put aside"))
        return findings

    def _come_back(
        self, scene: Scene, folder: Path, fleet: str, witness: Witness, order: Desired | None
    ) -> list[Finding]:
        end_row = self._recording.rows + MORE_ROWS
        if order is None:
            # A device that never had an order has nothing to score with: it must be there, and take its first one.
            order = Desired(self._world.bundles[0], "late", self._clock.utc_s(), "test", "at last")
            witness.publish(DEVICE, Channel.DESIRED, order)
        if not scene.is_whole:
            source = f'at_end = "stop"\nend_row = {end_row}'
            forked = self._nursery.start(self._world.write_settings(folder, fleet=fleet, source=source))
            return _expect(forked, forked.wait(RUN_S), "it did not come to the end of its rows")
        # Rows go on, because a trial needs them.
        source = "rows_per_second = 300"
        agent = WholeProcess(self._world.write_settings(folder, fleet=fleet, source=source))
        try:
            wait_until(lambda: witness.rows(DEVICE) >= end_row, RUN_S, f"row {end_row} is stored")
            wait_until(lambda: is_settled(witness, order), RUN_S, f"{order.bundle} is committed or given up")
        except AssertionError as error:
            agent.send(signal.SIGKILL)
            agent.wait(RUN_S)
            return [Finding("not back", str(error))]
        agent.send(signal.SIGTERM)
        return _expect(agent, agent.wait(RUN_S), "it did not stop")


def _expect(agent: Running, code: int | None, told: str) -> list[Finding]:
    if code is None:
        agent.send(signal.SIGKILL)
        agent.wait(RUN_S)
        return [Finding("not back", told)]
    return [Finding("not back", f"it ended with {code}")] if code else []


def is_settled(witness: Witness, order: Desired) -> bool:
    """Tell whether an order has come to its end, and the device says so."""
    status = witness.status(DEVICE)
    ends = ("committed", "rolled_back", "refused")
    is_told = any(event.order_id == order.order_id for kind in ends for event in witness.events(DEVICE, kind))
    return is_told and status is not None and status.online and status.update_state == "idle"
