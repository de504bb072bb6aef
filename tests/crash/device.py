"""A device that lives on while things are done to it: its agent is started again whenever it ends, as a service is."""

import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from broker.messages import BundleRef, Desired
from broker.topics import Channel
from edge_agent.clock import Clock
from tests.crash.disk import Disk, Image, write_image
from tests.crash.findings import Finding, answers_that_do_not_fit, rows_that_do_not_fit
from tests.crash.nursery import Forked, Nursery
from tests.crash.recording import Recording
from tests.crash.witness import DEVICE, Witness
from tests.crash.world import World

RUN_S: Final = 120.0
_LOOK_S: Final = 0.02


def installed(recording: Recording) -> tuple[Image, int]:
    """Return the disk of a device that has just told that its first bundle is committed, and how long the log was."""
    witness = recording.witness
    position = min(
        witness.positions[key] for key, (_, body) in witness.records.items() if getattr(body, "kind", "") == "committed"
    )
    disk = Disk(recording.disk, is_empty=True)
    for operation in recording.operations:
        if operation.end > position:
            break
        disk.apply(operation)
    return disk.image(), position


class Device:
    """One device in a fleet of its own; close it.

    Attributes:
        starts: how often its agent was started.
    """

    def __init__(
        self,
        world: World,
        nursery: Nursery,
        folder: Path,
        clock: Clock,
        *,
        source: str = "rows_per_second = 300",
        repository: str = "",
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        """Describe it: its disk is ``folder/disk``, and the folder's name that of its fleet."""
        self.folder = folder
        (folder / "disk").mkdir(parents=True, exist_ok=True)
        self._settings = world.write_settings(
            folder, fleet=folder.name, source=source, repository=repository, port=port
        )
        self._nursery = nursery
        self._environment = environment
        self._clock = clock
        self.witness = Witness(world.broker.endpoint, folder.name)
        self._agent: Forked | None = None
        self.starts = 0
        self._orders = 0

    def begin_installed(self, recording: Recording) -> None:
        """Take over the disk of a device that runs its first bundle, and what the receiver knows of it."""
        image, position = installed(recording)
        (self.folder / "disk").rmdir()
        write_image(image, self.folder / "disk")
        self.witness.remember(recording.witness, position)

    def close(self) -> None:
        """End everything of it."""
        self.kill()
        self.witness.close()

    def order(self, bundle: BundleRef) -> str:
        """Publish what it shall run; return the order's id."""
        self._orders += 1
        desired = Desired(bundle, f"{self.folder.name}-{self._orders}", self._clock.utc_s(), "test", "because")
        self.witness.publish(DEVICE, Channel.DESIRED, desired)
        return desired.order_id

    def start(self) -> None:
        """Start its agent."""
        self.starts += 1
        self._agent = self._nursery.start(self._settings, self._environment)

    def kill(self) -> None:
        """End its agent by SIGKILL."""
        if self._agent is not None:
            self._agent.send(signal.SIGKILL)
            self._agent.wait(RUN_S)
            self._agent = None

    def stop(self) -> int | None:
        """Stop its agent politely; return how it ended."""
        if self._agent is None:
            return 0
        self._agent.send(signal.SIGTERM)
        code = self._agent.wait(RUN_S)
        self._agent = None
        return code

    def live_until(self, condition: Callable[[], object], timeout_s: float = RUN_S) -> bool:
        """Start its agent, and again whenever it ends, until a condition is true; return whether it came true."""
        ends_s = self._clock.monotonic_s() + timeout_s
        pause = threading.Event()
        while not condition():
            if self._clock.monotonic_s() >= ends_s:
                return False
            if self._agent is None or self._agent.wait(0.0) is not None:
                self.start()
            pause.wait(_LOOK_S)
        return True

    def has_more_rows(self, than: int) -> Callable[[], bool]:
        """Return what tells whether more rows of it are stored."""
        return lambda: self.witness.rows(DEVICE) > than

    def has_settled(self, order_id: str, *kinds: str) -> bool:
        """Tell whether an order has come to one of these ends, and the device says so."""
        status = self.witness.status(DEVICE)
        is_told = any(event.order_id == order_id for kind in kinds for event in self.witness.events(DEVICE, kind))
        return is_told and status is not None and status.online and status.update_state == "idle"

    def findings(self) -> list[Finding]:
        """Return what must not be: of its records, its rows and its answers."""
        windows = self.witness.windows(DEVICE)
        found = [Finding("twice", f"another record came under {key}") for key in self.witness.conflicts]
        found += rows_that_do_not_fit(self.witness)
        found += answers_that_do_not_fit(self.folder / "disk" / "answers.jsonl", windows)
        if (self.folder / "disk" / "state" / "spool.db.damaged").exists():
            found.append(Finding("damaged", "the spool was put aside"))
        return found

    @property
    def log(self) -> str:
        """What its agents wrote."""
        path = self.folder / "agent.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""
