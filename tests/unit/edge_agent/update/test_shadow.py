"""A shadow's queue, what it counts, and when its process is started and ended."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from broker.messages import BundleRef, Desired, Event
from edge_agent.bundle import MANIFEST_NAME, TrialRules, parse_manifest
from edge_agent.errors import AgentError
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.scorer import Prediction, Scorer
from edge_agent.update.shadow import MAX_DEATHS, Shadow, in_words
from edge_agent.update.shadow_child import Comparison
from edge_agent.update.shadow_messages import ShadowCounts, ShadowOrder, ShadowRow
from edge_agent.update.shadow_process import ShadowProcess
from edge_agent.update.shadow_queue import MAX_QUEUED, ShadowQueue
from edge_agent.update.states import State
from edge_agent.update.updater import MAX_PROVING_STARTS
from tests.bundles import FEATURES, make_bundle
from tests.unit.edge_agent.update.simulators import Device, Stagings
from tests.waiting import wait_until

SECOND, THIRD = BundleRef("toy", 2), BundleRef("toy", 3)
HIGH = Prediction(1, "high", 1.0, 0.9, True, 19, 0.1, (0.1, 0.9))


@dataclass
class Child:
    """A process that scores nothing."""

    order: ShadowOrder
    counts: ShadowCounts = field(default_factory=ShadowCounts)
    handed: list[ShadowRow] = field(default_factory=list)
    is_ready: bool = True
    ending: str | None = None
    is_ended: bool = False

    def hand(self, rows: list[ShadowRow]) -> None:
        assert self.is_ready
        self.handed += rows

    def poll(self) -> str | None:
        return self.ending

    def end(self) -> None:
        self.is_ended = True


class Scene:
    """A device that scores with a bundle, and the shadow's side of it."""

    def __init__(self, device: Device) -> None:
        self.device, self.queue = device, ShadowQueue()
        self.children: list[Child] = []
        self.told: list[Event] = []
        device.update(1, "one")
        self.shadow = Shadow(
            self.queue,
            device.updater,
            device.store,
            start_process=self.start,
            tell=self.told.append,
            clock=device.clock,
            report_every_s=600.0,
        )

    def start(self, order: ShadowOrder) -> Child:
        self.children.append(Child(order))
        return self.children[-1]

    def ask(self, bundle: BundleRef = SECOND, rows: int = 0, order_id: str = "ask") -> bool:
        return self.device.updater.shadows.start(Desired(bundle, order_id, 1.7e9, "test"), rows).accepted

    def poll(self, times: int = 3) -> None:
        for _ in range(times):
            self.device.poll()
            self.shadow.poll()

    def offer(self, rows: int) -> None:
        for number in range(rows):
            self.queue.offer((float(number), 0.0, 0.0), HIGH)

    @property
    def state(self) -> State:
        return self.device.updater.record.state


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for version in (1, 2, 3):
        make_bundle(folder / f"v{version}", version=version, trial=TrialRules(rows=20))
    return folder


@pytest.fixture
def stagings(bundles: Path) -> Stagings:
    return Stagings(bundles)


@pytest.fixture
def scene(tmp_path: Path, stagings: Stagings) -> Scene:
    return Scene(Device(tmp_path / "state", stagings))


class TestQueue:
    def test_a_closed_one_takes_nothing_and_counts_nothing(self):
        queue = ShadowQueue()
        queue.offer((1.0,), HIGH)
        assert (queue.take(10), queue.dropped) == ([], 0)

    def test_a_full_one_drops_and_counts_and_never_grows(self):
        queue = ShadowQueue()
        queue.open()
        for number in range(MAX_QUEUED + 7):
            queue.offer((number,), HIGH)
        assert queue.dropped == 7
        assert [row.values[0] for row in queue.take(3)] == [0, 1, 2]
        assert len(queue.take(10 * MAX_QUEUED)) == MAX_QUEUED - 3

    def test_rows_of_another_shadow_are_forgotten(self):
        queue = ShadowQueue()
        queue.open()
        queue.offer((1.0,), HIGH)
        queue.close()
        assert queue.take(1) == []
        queue.open()
        queue.offer((2.0,), HIGH)
        assert [row.values for row in queue.take(9)] == [(2.0,)]

    def test_a_row_that_a_source_fills_again_stays_as_it_was(self):
        queue, row = ShadowQueue(), [1.0, 2.0]
        queue.open()
        queue.offer(row, HIGH)
        row[0] = 9.0
        assert queue.take(1) == [ShadowRow((1.0, 2.0), "high", 1.0)]


class TestComparison:
    def open(self, folder: Path, features: tuple[str, ...] = FEATURES) -> Comparison:
        manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
        scorer = Scorer(manifest, open_runtime(manifest.variants[0], folder, manifest))
        return Comparison(manifest, scorer, features, iter(range(10_000)).__next__)

    def test_labels_are_compared_whatever_the_order_of_the_values(self, bundles: Path):
        comparison = self.open(bundles / "v1", ("c", "x", "a", "b"))
        rows = [ShadowRow((5.0, "text", 5.0, 5.0), label, 0.0) for label in ("high", "low", "high")]
        counts = comparison.compare(rows)
        assert (counts.rows, counts.disagreements, counts.refused, counts.median_latency_us) == (3, 1, 0, 1e6)

    def test_rows_that_the_shadow_refuses_are_counted_apart(self, bundles: Path):
        comparison = self.open(bundles / "v1")
        counts = comparison.compare([ShadowRow((None, 1.0, 1.0), "high", 0.0), ShadowRow((1.0,), "high", 0.0)])
        assert (counts.rows, counts.refused) == (0, 2)
        assert comparison.compare([ShadowRow((1.0, 1.0, 1.0), "high", 0.0)]).rows == 1

    def test_values_disagree_when_they_fall_into_other_bins(self, bundles: Path):
        manifest = parse_manifest((bundles / "v1" / MANIFEST_NAME).read_bytes())
        as_regression = msgspec.structs.replace(manifest, task="regression", labels=(), output_edges=(0.4, 0.6))
        estimation = msgspec.structs.replace(
            manifest.estimation,
            second_model=msgspec.structs.replace(
                manifest.estimation.second_model,
                coefficients=manifest.estimation.second_model.coefficients[:1],
                intercepts=manifest.estimation.second_model.intercepts[:1],
            ),
        )
        as_regression = msgspec.structs.replace(as_regression, estimation=estimation)

        class Half:
            def score(self, _row: object) -> list[float]:
                return [0.5]

            def score_batch(self, rows: object) -> list[list[float]]:
                raise NotImplementedError

            def close(self) -> None:
                pass

        comparison = Comparison(as_regression, Scorer(as_regression, Half()), FEATURES, lambda: 0.0)
        counts = comparison.compare([ShadowRow((1.0, 1.0, 1.0), None, value) for value in (0.5, 0.45, 0.7)])
        assert (counts.rows, counts.disagreements) == (3, 1)
        assert counts.difference_sum == pytest.approx(0.25)

    def test_a_feature_that_the_rows_lack_is_named(self, bundles: Path):
        with pytest.raises(AgentError, match="the rows have no b, c"):
            self.open(bundles / "v1", ("a",))


class TestProcess:
    def test_rows_go_in_and_counts_come_out_of_a_real_one(self, scene: Scene):
        assert scene.ask()
        scene.poll()
        process = ShadowProcess(scene.children[0].order)
        try:
            self.wait_ready(process)
            # More than a pipe holds.
            process.hand([ShadowRow((1.0, 1.0, 1.0), "low", 0.0)] * 50_000)
            assert not process.is_ready
            self.wait_ready(process)
            assert (process.counts.rows, process.counts.disagreements) == (50_000, 50_000)
        finally:
            process.end()

    def test_a_bundle_that_was_altered_is_not_opened(self, scene: Scene):
        scene.ask()
        scene.poll()
        order = scene.children[0].order
        (Path(order.slot) / MANIFEST_NAME).write_bytes(b"{}")
        assert "not the manifest of toy/2" in ending_of(ShadowProcess(order))

    @staticmethod
    def wait_ready(process: ShadowProcess) -> None:
        def is_ready() -> bool:
            assert process.poll() is None
            return process.is_ready

        wait_until(is_ready, 60, "the process takes rows")


def test_a_shadow_is_fed_reported_now_and_then_and_ended_by_order(scene: Scene):
    assert scene.ask()
    scene.poll()
    child = scene.children[0]
    assert (scene.state, child.order.content.bundle, child.order.features) == (State.SHADOW, SECOND, FEATURES)
    assert scene.device.scoring == 1
    scene.offer(5)
    scene.poll(1)
    assert len(child.handed) == 5
    child.counts = ShadowCounts(5, 2, 0.0, 0, 30.0)
    scene.poll()
    assert not scene.told
    scene.device.clock.advance(600.0)
    scene.poll()
    child.counts = ShadowCounts(9, 2, 0.0, 1, 30.0)
    assert scene.device.updater.shadows.end("enough").accepted
    scene.poll()
    reports = [event.shadow for event in scene.told if event.shadow is not None]
    assert [(r.rows, r.disagreements, r.refused) for r in reports] == [(5, 2, 0), (4, 0, 1)]
    assert (child.is_ended, scene.queue.is_open, scene.state) == (True, False, State.IDLE)
    assert scene.device.updater.record.settled_order == "one"


def test_a_child_that_is_busy_is_not_handed_more_and_what_it_misses_is_told(scene: Scene):
    scene.ask()
    scene.poll()
    child = scene.children[0]
    child.is_ready = False
    scene.offer(MAX_QUEUED + 3)
    scene.device.clock.advance(600.0)
    scene.poll()
    assert not child.handed
    report = scene.told[0].shadow
    assert report is not None
    assert report.dropped == 3
    assert "3 not seen" in in_words(report)


def test_one_that_dies_is_started_again_and_given_up_in_the_end(scene: Scene):
    scene.ask()
    for deaths in range(1, MAX_DEATHS + 1):
        scene.poll()
        assert len(scene.children) == deaths
        scene.children[-1].ending = "its process ended with code 1"
        scene.poll(1)
    scene.poll()
    assert (scene.state, len(scene.children)) == (State.IDLE, MAX_DEATHS)
    assert scene.device.updater.events()[-1].reason == "ended: its process ended with code 1"


def test_one_that_cannot_be_opened_is_given_up_at_once(scene: Scene):
    scene.ask()
    scene.poll()
    scene.children[0].counts = ShadowCounts(error="no such feature")
    scene.children[0].ending = "no such feature"
    scene.poll()
    assert (scene.state, len(scene.children)) == (State.IDLE, 1)


def test_it_ends_after_its_rows_though_it_died_in_between(scene: Scene):
    scene.ask(rows=100)
    scene.poll()
    scene.children[0].counts = ShadowCounts(60)
    scene.children[0].ending = "died"
    scene.poll()
    scene.children[1].counts = ShadowCounts(39)
    scene.poll()
    assert scene.state is State.SHADOW
    scene.children[1].counts = ShadowCounts(40)
    scene.poll()
    assert scene.state is State.IDLE


def test_a_shadow_survives_a_restart_and_one_in_which_the_machine_dies_again_and_again_does_not(
    scene: Scene, tmp_path: Path, stagings: Stagings
):
    scene.ask()
    scene.poll()
    for _ in range(MAX_PROVING_STARTS):
        assert Device(tmp_path / "state", stagings).updater.shadows.content is not None
    assert Device(tmp_path / "state", stagings).updater.record.state is State.IDLE


def test_polite_stops_and_a_shadow_that_works_are_not_held_against_it(scene: Scene, tmp_path: Path, stagings: Stagings):
    scene.ask()
    scene.poll()
    device = scene.device
    for _ in range(10):
        device.updater.stop()
        device = Device(tmp_path / "state", stagings)
    for _ in range(10):
        device = Device(tmp_path / "state", stagings)
        device.updater.shadows.worked()
    assert device.updater.shadows.content is not None


def test_what_was_being_fetched_for_a_shadow_is_dropped_by_a_restart_and_orders_are_not(
    scene: Scene, tmp_path: Path, stagings: Stagings
):
    stagings.is_slow = True
    scene.ask()
    scene.poll()
    assert scene.state is State.FETCHING
    again = Device(tmp_path / "state", stagings)
    again.poll(3)
    assert (again.updater.record.state, again.scoring) == (State.IDLE, 1)


def test_the_retained_order_for_what_scores_does_not_end_a_shadow(scene: Scene, stagings: Stagings):
    stagings.is_slow = True
    scene.ask()
    scene.poll()
    scene.device.order(1, "one")
    scene.poll()
    stagings.is_slow = False
    scene.poll()
    scene.device.order(1, "one")
    scene.poll()
    assert scene.state is State.SHADOW


def test_an_update_ends_a_shadow_and_takes_its_slot(scene: Scene):
    scene.ask()
    scene.poll()
    slot = scene.device.updater.record.roles.candidate
    scene.device.order(3, "three")
    scene.poll()
    assert scene.device.scoring == 3
    assert scene.device.updater.record.roles.candidate == slot
    assert scene.children[0].is_ended
    assert [e.order_id for e in scene.device.updater.events() if e.kind == "shadow"] == ["ask", "ask"]


def test_going_back_ends_a_shadow(scene: Scene):
    scene.device.update(2, "two")
    assert scene.ask(THIRD)
    scene.poll()
    assert scene.device.updater.roll_back("because").accepted
    scene.poll()
    assert (scene.device.scoring, scene.state) == (1, State.IDLE)
    assert scene.children[0].is_ended


def test_a_shadow_takes_the_place_of_another(scene: Scene):
    scene.ask(SECOND, order_id="a")
    scene.poll()
    assert scene.ask(THIRD, order_id="b")
    scene.poll()
    assert [child.order.content.bundle for child in scene.children] == [SECOND, THIRD]
    assert [child.is_ended for child in scene.children] == [True, False]


def test_a_shadow_of_nothing_is_not_taken(tmp_path: Path, stagings: Stagings):
    device = Device(tmp_path / "state", stagings)
    order = Desired(SECOND, "ask", 1.7e9, "test")
    assert not device.updater.shadows.start(order, 0).accepted
    device.order(1, "one")
    device.poll(3)
    assert device.updater.record.state is State.TRIAL
    assert not device.updater.shadows.start(order, 0).accepted


def test_an_update_that_is_under_way_or_waits_goes_before_a_shadow(scene: Scene, stagings: Stagings):
    stagings.is_slow = True
    scene.device.order(2, "two")
    assert not scene.ask(THIRD)
    scene.device.poll(2)
    answer = scene.device.updater.shadows.start(Desired(THIRD, "ask", 1.7e9, "test"), 0)
    assert (answer.accepted, answer.reason) == (False, "an update is under way (fetching); try again")
    stagings.is_slow = False
    scene.device.poll(2)
    assert scene.device.scoring == 2


def test_an_order_that_the_child_does_not_understand_ends_it(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    scene.ask()
    scene.poll()
    monkeypatch.setattr("edge_agent.update.shadow_process.framed", lambda _: b"\xff" * 8)
    assert "its process ended with code" in ending_of(ShadowProcess(scene.children[0].order))


def ending_of(process: ShadowProcess) -> str:
    """Wait until a process has ended, and return why."""
    endings: list[str] = []

    def has_ended() -> bool:
        ending = process.poll()
        endings.extend([] if ending is None else [ending])
        return bool(endings)

    wait_until(has_ended, 30, "it ends")
    return endings[0]
