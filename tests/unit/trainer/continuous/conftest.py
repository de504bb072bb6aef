"""A loop with a real store, whose devices, runs and repository are simulated."""

from pathlib import Path

import numpy as np
import pytest

from broker.errors import LinkError
from broker.messages import AskLabels, BundleRef, Command, Desired, parse_as
from broker.topics import Channel
from edge_agent.bundle import Feature
from tests.unit.trainer.simulated_fleet import (
    LABELS,
    RIGHT,
    USUAL,
    ManualClock,
    SimulatedDevice,
    make_manifest,
)
from trainer.continuous.books import StoryEvent  # noqa: TC001 - one import beside the others
from trainer.continuous.loop import Loop, LoopRules, Surroundings
from trainer.continuous.runner import RunOutcome
from trainer.monitoring.intake import Intake
from trainer.monitoring.store import open_store, store_uri
from trainer.project.fleet import MonitoringSection
from trainer.project.learning import DataSection, TargetSection
from trainer.project.project import LoadedProject, Project
from trainer.project.triggers import TriggersSection

HALF_WRONG = np.full(20, 0.4)


class FakeRunner:
    """Answers what a test tells it, and remembers what was wanted."""

    def __init__(self):
        self.requests = []
        self.outcome = None

    def ensure(self, request):
        if not self.requests or self.requests[-1] != request:
            self.requests.append(request)
        return self.outcome

    def close(self):
        pass


class Alerts:
    def __init__(self):
        self.sent = []

    def send(self, alert):
        self.sent.append(alert)

    def close(self):
        pass


class Stage:
    """Everything around one loop; ``play`` lets all devices score one window and the loop step."""

    def __init__(self, folder: Path, *, names="abcde", triggers=None, **monitoring):
        rules = {"retrain_labels": 100, "window_rows": 50} | monitoring
        self.loaded = LoadedProject(
            Project(
                name="weather",
                data=DataSection(path=("rows.csv",)),
                features=(Feature("pressure"), Feature("humidity")),
                target=TargetSection(column="rain", task="classification", labels=LABELS),
                monitoring=MonitoringSection(**rules),
                triggers=triggers or TriggersSection(),
            ),
            folder,
        )
        self.clock = ManualClock()
        self.store = open_store(store_uri(folder / "fleet.db"))
        self.intake = Intake(self.store, self.clock)
        self.manifests = {version: make_manifest(version=version) for version in (1, 2, 3)}
        self.devices = {name: SimulatedDevice(name, seed=7 + i) for i, name in enumerate(names)}
        self.running = dict.fromkeys(names, 1)
        self.asks: dict[str, list[AskLabels]] = {name: [] for name in names}
        self.asked_rows = dict.fromkeys(names, 0)
        self.fails: set[str] = set()
        self.has_link = True
        self.is_labelled = True
        self.count_rows = int
        self.runner, self.alerts = FakeRunner(), Alerts()
        self.told: list[StoryEvent] = []
        self.published: list[Path] = []
        self.loop = self.make_loop()
        for name, device in self.devices.items():
            self.intake.take([device.status(self.manifests[self.running[name]].ref)])

    def make_loop(self):
        around = Surroundings(
            store=self.store,
            clock=self.clock,
            alerts=self.alerts,
            runner=self.runner,
            publish=self.publish,
            publish_bundle=self.publish_bundle,
            manifest_of=lambda ref: self.manifests.get(ref.version),
            count_rows=self.count_rows,
        )
        return Loop(self.loaded, around, rules=LoopRules(label_patience_windows=10), on_story=self.told.append)

    def publish_bundle(self, folder):
        self.published.append(folder)
        return BundleRef("weather", int(folder.name))

    def publish(self, topic, payload):
        if not self.has_link:
            raise LinkError("no link")
        if topic.channel is Channel.COMMAND:
            order = parse_as(Command, Channel.COMMAND, payload).order
            assert isinstance(order, AskLabels)
            self.asks[topic.device].append(order)
            self.asked_rows[topic.device] += order.rows
        elif topic.channel is Channel.DESIRED:
            desired = parse_as(Desired, Channel.DESIRED, payload)
            device = self.devices[topic.device]
            if desired.bundle.version == self.running[topic.device]:
                return
            if topic.device in self.fails:
                self.intake.take([device.event("rolled_back", desired.bundle, desired.order_id, "too slow")])
                return
            self.running[topic.device] = desired.bundle.version
            self.intake.take(
                [device.event("committed", desired.bundle, desired.order_id), device.status(desired.bundle)]
            )

    def play(self, n=1, *, right=RIGHT, shares=USUAL, only=None, restart=False, until=None, **how):
        """Let devices score ``n`` windows each, or fewer when the story comes to ``until``.

        ``only`` names the devices that the change concerns.
        """
        for _ in range(n):
            self.clock.now_s += 10
            for name, device in self.devices.items():
                changed = only is None or name in only
                asked = None
                if self.asks[name]:
                    order = self.asks[name].pop(0)
                    asked = (order.ask_id, order.rows)
                deliveries = list(
                    device.score(
                        self.manifests[self.running[name]],
                        at_utc_s=self.clock.now_s - 5,
                        right=right if changed else RIGHT,
                        shares=shares if changed else USUAL,
                        asked=asked,
                        **(how if changed else {}),
                    )
                )
                if not self.is_labelled:
                    deliveries = [d for d in deliveries if d.topic.channel is not Channel.LABELS]
                self.intake.take(deliveries)
                if restart:
                    self.loop = self.make_loop()
                if self.loop.step().state is until:
                    return

    def kinds(self):
        return [event.kind for event in self.told]

    def promoted(self, version=2):
        return RunOutcome("promoted", "better by 0.1", "r1", version, f"/bundles/{version}")


@pytest.fixture
def make_stage(tmp_path):
    stages: list[Stage] = []

    def make(**how):
        folder = tmp_path / f"stage-{len(stages)}"
        folder.mkdir()
        stages.append(Stage(folder, **how))
        return stages[-1]

    yield make
    for stage in stages:
        stage.store.close()
