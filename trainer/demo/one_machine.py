"""Runs the whole loop on one machine: trains, publishes, starts broker, monitor and devices, and lets them go.

Everything that is started here is ended here, by its id, in the reverse order, whatever happens in between.
"""

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from broker.messages import BundleRef
from broker.servers.local import LocalBroker, start_local_broker
from broker.topics import FleetId
from edge_agent.clock import Clock
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.serving import start_repository_server
from trainer.continuous.books import StoryEvent
from trainer.continuous.station import Station, usual_places
from trainer.continuous.story import State
from trainer.demo.devices import DeviceProcess, Surroundings, make_devices, stop_devices
from trainer.demo.labeller import Labeller
from trainer.demo.outcome import Answer, ScoredRow
from trainer.demo.replay import Replay
from trainer.demo.shares import Share
from trainer.demo.summary import Played, Summary, records_put, score_static, summarise
from trainer.errors import GateRefusedError, RunError
from trainer.monitoring.fleet import intake_totals, totals_of_devices
from trainer.monitoring.store import StoreUnavailableError
from trainer.pipeline.outcome import StepEvent
from trainer.pipeline.production import RunResult, run_production
from trainer.project.project import LoadedProject
from trainer.rollout.steps import RolloutRules

_TICK_S: Final = 0.25
# When the devices' rows are over: how long a run that is under way may still take, on a busy machine.
_SETTLE_S: Final = 300.0
_CONNECT_S: Final = 30.0
_FIRST_ORDER: Final = "first"
# A rollout is not waited for: a trial needs rows, and there are none left.
_BUSY: Final = frozenset({State.RUNNING})


class View(Protocol):
    """Shows what happens."""

    def step(self, event: StepEvent) -> None:
        """A step of a production run."""
        ...

    def trained(self, result: RunResult) -> None:
        """The first model passed the gate; with its export report."""
        ...

    def published(self, bundle: BundleRef, url: str) -> None:
        """The bundle is signed and served."""
        ...

    def started(self, broker: LocalBroker, devices: Sequence[DeviceProcess]) -> None:
        """Broker and devices run."""
        ...

    def story(self, event: StoryEvent) -> None:
        """A turn of the story."""
        ...

    def tick(self, station: Station, rows: int, of: int) -> None:
        """Some time has passed; ``rows`` of ``of`` are scored and stored."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played.

    Attributes:
        replay: the rows, and the truth about them.
        shares: the rows that each device replays.
        rows_per_second: of each device.
        broker: which kind; ``auto`` takes a Mosquitto that is installed, else the embedded one.
        label_delay_s: seconds after which the truth about a scored row is known.
    """

    loaded: LoadedProject
    replay: Replay
    shares: tuple[Share, ...]
    rows_per_second: float
    broker: Literal["auto", "mosquitto", "amqtt"] = "auto"
    label_delay_s: float = 0.5


@dataclass(slots=True)
class OneMachine:
    """The running loop; use `play`."""

    plan: Plan
    clock: Clock
    view: View
    stop: threading.Event = field(default_factory=threading.Event)
    story: list[StoryEvent] = field(default_factory=list)
    _is_training: bool = False

    def end(self) -> None:
        """End as soon as can be, from a signal's handler: nothing but training is broken off half-way.

        Raises:
            KeyboardInterrupt: the first model is being trained.
        """
        self.stop.set()
        if self._is_training:
            raise KeyboardInterrupt

    def play(self, *, keep: bool = False) -> tuple[Summary, tuple[ScoredRow, ...], dict[int, Answer]]:
        """Play the loop until every row is scored and stored, or until `stop` is set.

        Args:
            keep: go on after the last row until `stop` is set.

        Returns:
            The summary; all scored rows; what the first bundle answers by row.

        Raises:
            GateRefusedError: the first model did not pass the gate.
            RunError: a device ends again and again.
        """
        began_s = self.clock.monotonic_s()
        loaded = self.plan.loaded
        self._is_training = True
        result = run_production(loaded, trigger="manual", reason="the first model", progress=self.view.step)
        self._is_training = False
        if result.bundle is None or not result.promoted:
            raise GateRefusedError("the first model did not pass the gate: " + "; ".join(result.decision.refusals))
        self.view.trained(result)
        with ExitStack() as running:
            station, devices, kind = self._start(running, result.bundle)
            self._watch(station, devices)
            if keep and not self.stop.is_set():
                self._keep(station, devices)
            stop_devices(devices)
            self._settle_records(station, devices)
            replay = self.plan.replay
            wanted = {row: replay.rows[row] for device in devices for row in device.share.rows if row < replay.end_row}
            static = score_static(result.bundle, wanted)
            summary, scored = summarise(
                loaded,
                station.store,
                devices,
                {row: answer for row, answer in replay.truth.items() if row < replay.end_row},
                static,
                Played(kind, self.story, self.clock.monotonic_s() - began_s, interrupted=self.stop.is_set()),
            )
        return summary, scored, static

    # --- starting ----------------------------------------------------------------------------------------------------

    def _start(self, running: ExitStack, bundle: Path) -> tuple[Station, tuple[DeviceProcess, ...], str]:
        """Start all parts; ``running`` ends them in the reverse order."""
        loaded, plan = self.plan.loaded, self.plan
        repository, keys = loaded.state / "repository", loaded.state / "keys"
        root = init_repository(repository, keys, clock=self.clock)
        ref = publish_bundle(bundle, repository, keys, clock=self.clock)
        server = start_repository_server(repository)
        running.callback(server.stop)
        self.view.published(ref, server.url)

        broker = start_local_broker(loaded.state / "broker", kind=plan.broker)
        running.callback(broker.stop)
        seed = loaded.project.seed
        station = Station(
            loaded,
            usual_places(loaded, broker.endpoint),
            clock=self.clock,
            rng=random.Random(seed),
            on_story=self._on_story,
        )
        running.callback(station.close)
        station.start()
        labeller = Labeller(
            broker.endpoint,
            FleetId(loaded.project.fleet),
            _TruthById(plan.replay.truth),
            delay_s=plan.label_delay_s,
            clock=self.clock,
            rng=random.Random(seed + 1),
        )
        running.callback(labeller.stop)
        labeller.start()
        devices = make_devices(
            loaded.folder / "devices",
            plan.shares,
            Surroundings(loaded.project, plan.replay.path, broker.endpoint, server.url, root),
            rows_per_second=plan.rows_per_second,
        )
        running.callback(stop_devices, devices)
        for device in devices:
            device.start()
        self.view.started(broker, devices)
        station.loop.operator.start(
            ref,
            order_id=_FIRST_ORDER,
            by="demo",
            reason="the first model",
            shares=(1.0,),
            rules=RolloutRules(loaded.project.rollout.max_failures),
        )
        return station, devices, broker.kind

    def _on_story(self, event: StoryEvent) -> None:
        self.story.append(event)
        self.view.story(event)

    # --- running -----------------------------------------------------------------------------------------------------

    def _watch(self, station: Station, devices: Sequence[DeviceProcess]) -> None:
        """Step the loop until all rows are stored, and a run or rollout that is under way has ended."""
        total = self._total(devices)
        over_s: float | None = None
        while not self.stop.wait(_TICK_S):
            rows = self._tick(station, devices, total)
            now_s = self.clock.monotonic_s()
            if rows < total:
                continue
            over_s = over_s or now_s
            if station.loop.story.state not in _BUSY or now_s - over_s > _SETTLE_S:
                return

    def _total(self, devices: Sequence[DeviceProcess]) -> int:
        """Return how many rows the devices come to, once each."""
        end_row = self.plan.replay.end_row
        return sum(sum(row < end_row for row in device.share.rows) for device in devices)

    def _keep(self, station: Station, devices: Sequence[DeviceProcess]) -> None:
        total = self._total(devices)
        while not self.stop.wait(_TICK_S):
            self._tick(station, devices, total)

    def _tick(self, station: Station, devices: Sequence[DeviceProcess], total: int) -> int:
        try:
            station.step()
            first = station.loop.operator.load(_FIRST_ORDER)
            rows = sum(t.rows_scored + t.rows_refused for t in totals_of_devices(station.store).values())
        except StoreUnavailableError:
            return 0
        if first is not None and first.state == "halted" and not self.story:
            raise RunError(f"the devices did not take the first bundle: {first.last_step}")
        for device in devices:
            device.ensure()
        self.view.tick(station, rows, total)
        return rows

    def _settle_records(self, station: Station, devices: Sequence[DeviceProcess]) -> None:
        """Wait until the monitor has what the devices said last."""
        deadline_s = self.clock.monotonic_s() + _CONNECT_S
        waiter = threading.Event()
        while self.clock.monotonic_s() < deadline_s:
            if intake_totals(station.store).records >= sum(records_put(device) for device in devices):
                return
            waiter.wait(_TICK_S)


class _TruthById(Mapping[str, str | float]):
    """Truth by prediction id (``<device>.<row>``)."""

    def __init__(self, truth: Mapping[int, Answer]) -> None:
        self._truth = truth

    def __getitem__(self, prediction_id: str) -> Answer:
        row = prediction_id.rpartition(".")[2]
        if not row.isdecimal():
            raise KeyError(prediction_id)
        return self._truth[int(row)]

    def __iter__(self) -> Iterator[str]:
        return (f".{row}" for row in self._truth)

    def __len__(self) -> int:
        return len(self._truth)
