import pytest
from msgspec.structs import replace

from broker.client import Delivery
from broker.messages import Label, Labels, Sample, Samples, encode
from broker.topics import Channel
from edge_agent.bundle import Feature
from edge_agent.raw_signal import Signal, SignalChannel
from tests.unit.trainer.simulated_fleet import ManualClock, SimulatedDevice, make_manifest
from trainer.monitoring.intake import Intake
from trainer.monitoring.labelled import LabelledRows, labelled_rows
from trainer.monitoring.store import open_store, store_uri

PRESSURE, HUMIDITY = Feature("pressure"), Feature("humidity", on_missing="flag")
MANIFEST = replace(make_manifest(), features=(PRESSURE, HUMIDITY))


class Field:
    """A store with one device; call it to let the device send a row and somebody its truth."""

    def __init__(self, folder):
        self.store = open_store(store_uri(folder / "fleet.db"))
        self.clock = ManualClock(100.0)
        self.intake = Intake(self.store, self.clock)
        self.device = SimulatedDevice("a")

    def __call__(self, name="a.1", *, features=(1.0, None), label="wet", scored=50.0, known=60.0, manifest=MANIFEST):
        sample = Sample(name, scored, features, 1.0, 0.9, agrees=True, reason="asked")
        deliveries = [self.device.record(Channel.SAMPLES, Samples(manifest.ref, (sample,)))]
        if label is not None:
            labels = Labels("truth", (Label(name, label, known),))
            deliveries.append(Delivery(self.device.topic(Channel.LABELS), encode(labels), retained=False))
        self.intake.take(deliveries)


@pytest.fixture
def field(tmp_path):
    field = Field(tmp_path)
    yield field
    field.store.close()


def found(field, *manifests, now=100.0, **how):
    known = {manifest.ref: manifest for manifest in manifests or (MANIFEST,)}
    return labelled_rows(field.store, "weather", known.get, now_utc_s=now, **how)


def test_a_labelled_row_comes_as_the_feature_store_takes_it(field):
    field()
    (row,) = found(field).rows
    assert (row.prediction_id, row.device, row.bundle, row.reason) == ("a.1", "a", "weather/1", "asked")
    assert (row.features, row.label) == ({"pressure": 1.0, "humidity": None}, "wet")


@pytest.mark.parametrize(
    "what", [{"label": None}, {"scored": 101.0}, {"known": 101.0}], ids=["unlabelled", "scored later", "known later"]
)
def test_rows_from_the_future_and_rows_without_truth_are_never_seen(field, what):
    field(**what)
    assert found(field).rows == ()
    assert found(field).unsuitable == 0


def test_what_was_received_after_now_is_not_seen_whatever_the_devices_clock_says(field):
    field.clock.now_s = 200.0
    field()
    assert found(field, now=150.0).rows == ()
    assert len(found(field, now=200.0).rows) == 1


def test_rows_scored_before_the_loss_began_are_left_out(field):
    field("a.1", scored=40.0)
    field("a.2", scored=50.0)
    assert [row.prediction_id for row in found(field, scored_since_utc_s=50.0).rows] == ["a.2"]


@pytest.mark.parametrize(
    "what",
    [
        {"features": (1.0,)},
        {"features": (1e39, 0.0)},
        {"features": (None, 0.0)},
        {"label": "hail"},
        {"scored": 60.5, "known": 60.0},
    ],
    ids=[
        "one feature short",
        "too great for float32",
        "missing where it may not be",
        "unknown label",
        "known before it was scored",
    ],
)
def test_rubbish_of_one_device_is_left_out_and_counted(field, what):
    field("a.1", **what)
    field("a.2")
    assert [row.prediction_id for row in found(field).rows] == ["a.2"]
    assert found(field).unsuitable == 1


def test_a_prediction_that_is_named_after_another_device_cannot_take_its_place(field):
    field("b.7")
    assert found(field).rows[0].prediction_id == "a/b.7"


def test_a_truth_that_is_known_at_once_suits(field):
    field(scored=60.0, known=60.0)
    assert len(found(field).rows) == 1


def test_rows_of_earlier_versions_count_and_other_models_do_not(field):
    second = replace(MANIFEST, version=2)
    field("a.1", manifest=second)
    field("a.2", manifest=replace(MANIFEST, name="climate"))
    assert [row.bundle for row in found(field, MANIFEST, second).rows] == ["weather/2"]


def test_a_value_is_named_by_the_manifest_of_the_version_that_scored_it(field):
    colour = Feature("colour", dtype="category", categories=("red", "blue"))
    first = replace(MANIFEST, features=(PRESSURE, colour))
    second = replace(MANIFEST, version=2, features=(replace(colour, categories=("grey", "red", "blue")), PRESSURE))
    field("a.1", features=(7.0, 1.0), manifest=first)
    field("a.2", features=(1.0, 8.0), manifest=second)
    assert [row.features for row in found(field, first, second).rows] == [
        {"pressure": 7.0, "colour": "blue"},
        {"pressure": 8.0, "colour": "red"},
    ]


@pytest.mark.parametrize("index", [2.0, -1.0, 0.5])
def test_an_index_that_names_no_category_does_not_suit(field, index):
    manifest = replace(MANIFEST, features=(Feature("colour", dtype="category", categories=("red", "blue")),))
    field(features=(index,), manifest=manifest)
    assert found(field, manifest) == LabelledRows((), 1)


def test_rows_of_a_version_that_is_not_known_here_do_not_suit(field):
    field("a.1", manifest=replace(MANIFEST, version=2))
    assert found(field) == LabelledRows((), 1)


@pytest.mark.parametrize(("label", "is_usable"), [(2.5, True), ("2.5", True), ("much", False), (1e300, False)])
def test_a_regression_takes_numbers_only(field, label, is_usable):
    manifest = replace(make_manifest("regression"), features=MANIFEST.features)
    field(label=label, manifest=manifest)
    assert bool(found(field, manifest).rows) is is_usable


def test_a_row_says_which_windows_it_was_made_of(field):
    channels = (SignalChannel("x", ("mean",)),)
    of_windows = replace(MANIFEST, signal=Signal(rate_hz=12.5, size=64, step=8, channels=channels))
    field()
    assert [row.windows for row in found(field).rows] == [""]
    assert [row.windows for row in found(field, of_windows).rows] == ["64 readings at 12.5 Hz"]
