"""A service over a real Mosquitto and the real monitor: stored, judged and asked like any device of the fleet."""

import random
from contextlib import contextmanager

import numpy as np
import pytest

from broker.client import WireClient
from broker.messages import AskLabels, Command, Diagnose, Label, Labels, Reply, RollBack, encode, parse_as
from broker.servers.local import start_local_broker
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent.clock import SystemClock
from edge_agent.settings import TelemetrySettings
from edge_agent.telemetry.window import WindowBuilder
from tests.bundles import FEATURES, make_bundle
from tests.integration.monitoring.conftest import WiredDevice
from tests.serving import GOOD, Shelf, running
from tests.unit.trainer.simulated_fleet import FLEET
from tests.waiting import wait_until
from trainer.monitoring.diagnosis import diagnose
from trainer.monitoring.fleet import latest_windows, list_devices, list_events
from trainer.monitoring.outcomes import labelled_samples
from trainer.monitoring.receiver import Monitor
from trainer.monitoring.store import open_store, store_uri
from trainer.serving.feedback.about import Identity
from trainer.serving.feedback.reporting import opened_reporting
from trainer.serving.model import open_model
from trainer.serving.server import Beside

NAME = DeviceId("serve-1")
TELEMETRY = TelemetrySettings(background_rows=1, max_window_s=0.2, windows_together=1, resend_after_s=1.0)


@pytest.fixture
def broker(tmp_path, mosquitto):
    del mosquitto
    started = start_local_broker(tmp_path / "broker", kind="mosquitto")
    yield started
    started.stop()


@pytest.fixture
def store(tmp_path):
    opened = open_store(store_uri(tmp_path / "fleet.db"))
    yield opened
    opened.close()


@contextmanager
def monitoring(broker, store):
    monitor = Monitor(broker.endpoint, FLEET, store, clock=SystemClock(), rng=random.Random(2))
    monitor.start()
    try:
        wait_until(lambda: monitor.client.is_connected)
        yield monitor
    finally:
        monitor.close()


@contextmanager
def reporting_service(broker, folder, bundle):
    identity = Identity(broker.endpoint, FleetId(FLEET), NAME, folder / "state", "toy@champion")
    with (
        opened_reporting(identity, TELEMETRY, SystemClock()) as reporting,
        running(bundle, beside=Beside(reporting=reporting)) as service,
    ):
        yield service


def stored(store, ref):
    return [window.window for window in latest_windows(store, ref, per_device=10_000).get(NAME, ())]


def rows_stored(store, ref):
    return sum(w.rows_scored + sum(n for _, n in w.rows_refused) for w in stored(store, ref))


def normal_rows(n, seed, shift=0.0):
    rows = np.random.default_rng(seed).normal(size=(n, len(FEATURES)))
    rows[:, 0] += shift
    return [tuple(row) for row in rows.tolist()]


def put_windows(device, bundle, rows):
    """Have a device of the fleet score rows, and send what it counted."""
    model = open_model(Shelf(bundle).current(), 1, SystemClock())
    scorer = model.inline
    window = WindowBuilder(model.manifest, model.variant.name, 0.0)
    for number, row in enumerate(rows):
        prediction = scorer.score(row)
        window.count(number, scorer.row, prediction, 5.0)
    device.put(Channel.TELEMETRY, window.close(1.0))
    device.send_spool()
    model.retire()
    return model.manifest


@pytest.mark.mosquitto
def test_its_windows_are_stored_and_judged_together_with_the_fleets(broker, store, tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    with monitoring(broker, store), reporting_service(broker, tmp_path, bundle) as service:
        manifest = service.service.holder.model.manifest
        wait_until(lambda: [state.bundle for state in list_devices(store)] == [manifest.ref], what="it says its status")
        device = WiredDevice(broker, "press-1")
        put_windows(device, bundle, normal_rows(300, 5))
        for at in range(0, 300, 50):
            assert service.infer(*normal_rows(50, at, shift=3.0))[0] == 200
        assert service.infer((1.0, None, 1.0))[0] == 400
        wait_until(lambda: rows_stored(store, manifest.ref) == 301, what="every row is in a stored window")
        wait_until(lambda: not device.spool, what="the device's too")
        device.close()
        refused = [pair for window in stored(store, manifest.ref) for pair in window.rows_refused]
        found = diagnose(
            {d: [w.window for w in its] for d, its in latest_windows(store, manifest.ref, per_device=99).items()},
            manifest,
        )
        (state,) = [state for state in list_devices(store) if state.device == NAME]
        assert (state.online, state.bundle, state.update_state) == (True, manifest.ref, "idle")
    assert refused == [("missing", 1)]
    assert found.rows == 600
    # The fleet's verdict names the feature that moved, and each device stands with its own share of it.
    assert (found.features[0].name, found.features[0].changed) == ("a", True)
    changed = {device.device: [f.name for f in device.features if f.changed] for device in found.devices}
    assert changed == {"serve-1": ["a"], "press-1": []}


@pytest.mark.mosquitto
def test_labels_asked_of_it_come_as_samples_and_other_orders_are_answered(broker, store, tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    with monitoring(broker, store) as monitor, reporting_service(broker, tmp_path, bundle) as service:
        ref = service.service.holder.model.manifest.ref
        wait_until(lambda: list_devices(store), what="it says its status")
        replies = Replies(broker)
        replies.order(monitor, AskLabels("ask-1", 3, 1 << 16, 0.0))
        replies.order(monitor, RollBack("because"))
        replies.order(monitor, Diagnose())
        answers = [replies.wait(number) for number in range(3)]
        assert [answer.accepted for answer in answers] == [True, False, True]
        assert "fieldloop rollback" in answers[1].reason
        assert '"serves": "toy@champion"' in answers[2].report
        told = service.infer(*normal_rows(40, 1))[1]
        ids = next(output["data"] for output in told["outputs"] if output["name"] == "prediction_id")
        assert all(id_.startswith("serve-1.") for id_ in ids)
        truth = Labels("truth", tuple(Label(id_, "high", 2.0) for id_ in ids))
        monitor.client.publish_and_wait(Topic(FLEET, NAME, Channel.LABELS), encode(truth), 10)

        def asked():
            return labelled_samples(store, ref, reasons=("asked", "uncertain"), latest=99, device=NAME)

        wait_until(lambda: len(asked()) == 3, what="the rows that were asked for are there, with their labels")
        replies.close()
    assert {sample.truth for sample in asked()} == {"high"}


@pytest.mark.mosquitto
def test_a_promotion_ends_the_window_and_is_told(broker, store, tmp_path):
    bundles = [make_bundle(tmp_path / f"bundle-{version}", version=version) for version in (1, 2)]
    with monitoring(broker, store), reporting_service(broker, tmp_path, bundles[0]) as service:
        first = service.service.holder.model.manifest.ref
        service.infer(*normal_rows(7, 1))
        service.shelf.bundle = bundles[1]
        wait_until(lambda: service.infer(GOOD)[1]["model_version"] == "2", what="version 2 answers")
        second = service.service.holder.model.manifest.ref
        wait_until(lambda: [state.bundle for state in list_devices(store)] == [second], what="its status says so")
        wait_until(lambda: list_events(store), what="it is told")
        wait_until(lambda: rows_stored(store, second) >= 1, what="its first window is stored")
    (event,) = list_events(store)
    assert (event.kind, event.bundle, event.reason) == (
        "activated", second, "toy/2 took over from toy/1, as toy@champion means it now",
    )  # fmt: skip
    windows = sorted([*stored(store, first), *stored(store, second)], key=lambda window: window.first_row)
    # One stretch of rows without a hole, no window with rows of both.
    assert [w.first_row for w in windows[1:]] == [w.last_row + 1 for w in windows[:-1]]
    assert [w.bundle for w in windows] == sorted(w.bundle for w in windows)


@pytest.mark.mosquitto
def test_what_was_scored_while_broker_and_monitor_were_away_is_stored_by_the_next_service(broker, store, tmp_path):
    bundle, port = make_bundle(tmp_path / "bundle"), broker.endpoint.port
    with reporting_service(broker, tmp_path, bundle) as service:
        ref = service.service.holder.model.manifest.ref
        broker.process.kill()
        broker.process.wait()
        assert service.infer(*normal_rows(30, 1))[0] == 200
    back = start_local_broker(tmp_path / "broker", port=port, kind="mosquitto")
    try:
        with monitoring(back, store), reporting_service(back, tmp_path, bundle) as service:
            assert service.infer(*normal_rows(5, 2))[0] == 200
            wait_until(lambda: rows_stored(store, ref) == 35, 60, "both services' rows are stored, each once")
    finally:
        back.stop()
    numbers = sorted(n for w in stored(store, ref) for n in range(w.first_row, w.last_row + 1))
    assert numbers == list(range(35))


class Replies:
    """Gives orders to the service, and hears what it answers."""

    def __init__(self, broker):
        self.heard: dict[str, Reply] = {}
        self._n = 0
        self._client = WireClient(
            broker.endpoint,
            "orders",
            filters=(str(Topic(FLEET, NAME, Channel.REPLY)),),
            on_delivery=self._hear,
            rng=random.Random(1),
        )
        self._client.start()
        wait_until(lambda: self._client.is_connected)

    def order(self, monitor, order):
        command = Command(f"command-{self._n}", SystemClock().utc_s() + 600, "test", order)
        self._n += 1
        monitor.client.publish_and_wait(Topic(FLEET, NAME, Channel.COMMAND), encode(command), 10)

    def wait(self, number):
        wait_until(lambda: f"command-{number}" in self.heard, what=f"order {number} is answered")
        return self.heard[f"command-{number}"]

    def close(self):
        self._client.close()

    def _hear(self, delivery):
        reply = parse_as(Reply, Channel.REPLY, delivery.payload)
        self.heard[reply.command_id] = reply
