"""What stands for the rest of the agent around an updater: a staging that is instant, a seat that is taken at once."""

import errno
import hashlib
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from broker.messages import BundleRef, Desired
from edge_agent.bundle import MANIFEST_NAME, parse_manifest
from edge_agent.clock import Clock
from edge_agent.errors import BundleError
from edge_agent.scoring.scorer import Scorer
from edge_agent.settings import RepositorySettings
from edge_agent.update.engine import Engine, TrialMeter
from edge_agent.update.record import Content, Record, SlotName
from edge_agent.update.slots import Bundle, SlotStore, empty_slot
from edge_agent.update.stage_messages import StageOrder, StageReport
from edge_agent.update.updater import Updater
from tests.unit.edge_agent.examples import ManualClock

SETTINGS = RepositorySettings("http://127.0.0.1:1/", "root.json", "toy", retry_min_s=10.0, retry_max_s=100.0)


class Seat:
    """Takes every engine at once, unless it is told to hesitate."""

    def __init__(self, engine: Engine | None) -> None:
        self.engine = engine
        self.hesitates = False
        self.offered: Engine | None = engine

    def offer(self, engine: Engine | None) -> None:
        self.offered = engine
        if not self.hesitates:
            self.engine = engine

    def take(self) -> None:
        self.engine = self.offered


@dataclass
class Stagings:
    """Makes stagings that copy a bundle into the slot at once; `report` has them end in another way."""

    bundles: Path
    report: StageReport | None = None
    is_slow: bool = False
    orders: list[StageOrder] = field(default_factory=list)
    cancelled: int = 0

    def start(self, order: StageOrder, timeout_s: float, clock: Clock) -> "Staged":
        assert timeout_s > 0
        assert clock is not None
        self.orders.append(order)
        return Staged(self, order)


@dataclass
class Staged:
    """One of them."""

    stagings: Stagings
    order: StageOrder

    def poll(self) -> StageReport | None:
        if self.stagings.is_slow:
            return None
        if self.stagings.report is not None:
            return self.stagings.report
        slot, source = Path(self.order.slot), self.stagings.bundles / f"v{self.order.bundle.version}"
        empty_slot(slot)
        for path in sorted(source.iterdir()):
            shutil.copyfile(path, slot / path.name)
        data = (slot / MANIFEST_NAME).read_bytes()
        variant = parse_manifest(data).variants[0]
        return StageReport("proved", "golden rows right", variant.name, hashlib.sha256(data).hexdigest(), len(data))

    def cancel(self) -> None:
        self.stagings.cancelled += 1


class SilentRuntime:
    """Stands for a loaded model where none is asked anything."""

    def __init__(self, engines: "Engines") -> None:
        self._engines = engines

    def score(self, row: object) -> list[float]:
        raise NotImplementedError

    def score_batch(self, rows: object) -> list[list[float]]:
        raise NotImplementedError

    def close(self) -> None:
        self._engines.n_open -= 1


@dataclass
class Engines:
    """Opens bundles without a runtime; `broken` names versions that do not open, `failing` why others do not now."""

    broken: set[int] = field(default_factory=set)
    failing: dict[int, Exception] = field(default_factory=dict)
    n_open: int = 0
    tried: list[int] = field(default_factory=list)

    def open(self, slot: SlotName, content: Content, bundle: Bundle, meter: TrialMeter | None) -> Engine:
        self.tried.append(content.bundle.version)
        if content.bundle.version in self.broken:
            raise BundleError(f"{content.bundle} does not load")
        if content.bundle.version in self.failing:
            raise self.failing[content.bundle.version]
        self.n_open += 1
        return Engine(slot, content, bundle.manifest, Scorer(bundle.manifest, SilentRuntime(self)), meter)


@dataclass
class Disk:
    """Takes records and marks, unless it is full."""

    is_full: bool = False

    def write(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Store(SlotStore):
    """The slots on such a disk."""

    def __init__(self, state: Path, disk: Disk) -> None:
        super().__init__(state)
        self._disk = disk

    def save(self, record: Record) -> None:
        self._disk.write()
        super().save(record)

    def mark_committed(self, slot: SlotName, content: Content, number: int) -> None:
        self._disk.write()
        super().mark_committed(slot, content, number)


class Device:
    """An updater with all that it needs, on one state folder; make another one on the same folder to start anew."""

    def __init__(
        self,
        state: Path,
        stagings: Stagings,
        engines: Engines | None = None,
        disk: Disk | None = None,
        *,
        settings: RepositorySettings = SETTINGS,
        read_memory: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.clock = ManualClock()
        self.stagings = stagings
        self.engines = engines or Engines()
        self.disk = disk or Disk()
        self.store = Store(state, self.disk)
        self.updater = Updater(
            settings,
            ("onnx-fp32",),
            self.store,
            state,
            start_staging=self.stagings.start,
            open_engine=self.engines.open,
            clock=self.clock,
            rng=random.Random(1),
            read_memory=read_memory,
        )
        self.seat = Seat(self.updater.start())
        self.updater.attach(self.seat)

    @property
    def scoring(self) -> int | None:
        """The version that scores."""
        return self.seat.engine.content.bundle.version if self.seat.engine is not None else None

    @property
    def kinds(self) -> list[str]:
        """The kinds of events that wait to be told."""
        return [event.kind for event in self.updater.events()]

    def order(self, version: int, order_id: str) -> None:
        """Say what should run."""
        self.updater.on_desired(Desired(BundleRef("toy", version), order_id, 1.7e9, "test"))

    def poll(self, times: int = 1) -> None:
        """Let the updater work."""
        for _ in range(times):
            self.updater.poll()

    def score(self, rows: int = 20, errors: int = 0) -> None:
        """Let the engine on trial score rows."""
        engine = self.seat.engine
        assert engine is not None
        assert engine.meter is not None
        for _ in range(rows):
            engine.meter.count(10.0)
        engine.meter.errors += errors

    def update(self, version: int, order_id: str) -> None:
        """Do a whole update that ends well."""
        self.order(version, order_id)
        self.poll(3)
        self.score()
        self.poll(2)


Act = Callable[[Device], None]
