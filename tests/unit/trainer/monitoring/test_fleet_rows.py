"""The fleet's samples and labels are rows of a view, with the names that the bundle gives its features."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge_agent.bundle import Feature
from tests.unit.trainer.features.small_views import StandingClock
from tests.unit.trainer.monitoring.test_labelled import MANIFEST, Field
from tests.unit.trainer.simulated_fleet import make_manifest
from trainer.errors import DataError
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.sources.reading import read_source
from trainer.features.store import extract
from trainer.features.views.view import Entity, FeatureView, FleetTable, Source, ViewFeature
from trainer.monitoring.fleet_rows import fleet_rows
from trainer.project.loading import load_project

DEVICE = Entity(name="device", key="device")


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    made = Field(tmp_path)
    yield made
    made.store.close()


def view_of(table: FleetTable, *features: ViewFeature, known: str = "received_at") -> FeatureView:
    source = Source(fleet=table, timestamp="scored_at", known=known)
    return FeatureView(name="sent", entities=(DEVICE,), features=features, source=source)


def newest(field: Field, view: FeatureView, folder: Path) -> list[dict[str, object]]:
    known = {MANIFEST.ref: MANIFEST}
    store = FeatureStore(str(folder / "features"), StandingClock())
    store.catalogue.register(view)
    store.push("sent", read_source(view, {}, lambda table, wanted: fleet_rows(field.store, table, wanted, known.get)))
    return list(store.latest("sent").to_pylist())


def at(utc_s: float) -> datetime:
    return datetime.fromtimestamp(utc_s, UTC)


def test_samples_are_rows_of_a_view_with_or_without_a_label(field: Field, tmp_path: Path) -> None:
    field("a.1", scored=50.0, features=(1.0, None))
    field("a.2", scored=60.0, features=(2.0, 3.0), label=None)
    wanted = (
        ViewFeature(name="pressure"),
        ViewFeature(name="humidity"),
        ViewFeature(name="prediction_id", dtype="text"),
    )
    assert newest(field, view_of("samples", *wanted), tmp_path) == [
        {"device": "a", "event_timestamp": at(60), "pressure": 2.0, "humidity": 3.0, "prediction_id": "a.2"}
    ]


def test_labels_come_with_their_samples_once_they_are_known(field: Field, tmp_path: Path) -> None:
    field("a.1", scored=50.0, known=70.0, label="dry")
    field("a.2", scored=60.0, label=None)
    view = view_of("labels", ViewFeature(name="pressure"), ViewFeature(name="label", dtype="text"), known="known_at")
    assert newest(field, view, tmp_path) == [
        {"device": "a", "event_timestamp": at(50), "pressure": 1.0, "label": "dry"}
    ]


def test_rows_of_bundles_that_are_not_known_or_lack_a_feature_are_left_out(field: Field, tmp_path: Path) -> None:
    other = replace(make_manifest(), version=2, features=(Feature("pressure"), Feature("wind")))
    field("a.1", scored=50.0, manifest=other)
    assert newest(field, view_of("samples", ViewFeature(name="pressure")), tmp_path / "1") == []
    field("a.2", scored=60.0)
    assert newest(field, view_of("samples", ViewFeature(name="wind")), tmp_path / "2") == []
    # What every sample says of itself needs no bundle.
    assert len(newest(field, view_of("samples", ViewFeature(name="confidence")), tmp_path / "3")) == 1


def test_a_key_that_no_sample_has_is_refused(field: Field, tmp_path: Path) -> None:
    view = replace(view_of("samples", ViewFeature(name="pressure")), entities=(Entity(name="m", key="machine"),))
    with pytest.raises(DataError, match="there is no column 'machine'"):
        newest(field, view, tmp_path)


def test_a_project_learns_from_labels_of_the_fleet_as_they_became_known(field: Field, tmp_path: Path) -> None:
    field("a.1", scored=50.0, known=70.0, label="dry", features=(1.0, None))
    field("a.2", scored=60.0, known=65.0, label="wet", features=(2.0, 3.0))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "fieldloop.toml").write_text(
        'name = "rain"\n[data]\nview = "sent:pressure"\nlabels = "truths"\n'
        '[target]\ncolumn = "label"\ntask = "classification"\n[[features]]\nname = "pressure"\n'
    )
    loaded = load_project(folder)
    store = FeatureStore(loaded.feature_store, StandingClock())
    # A device knows its own readings as it makes them.
    sent = view_of("samples", ViewFeature(name="pressure"), known="scored_at")
    label = ViewFeature(name="label", dtype="text")
    truths = replace(view_of("labels", label, known="known_at"), name="truths")
    known = {MANIFEST.ref: MANIFEST}
    for view in (sent, truths):
        store.catalogue.register(view)
        read = read_source(view, {}, lambda table, wanted: fleet_rows(field.store, table, wanted, known.get))
        store.push(view.name, read)
    assert extract(loaded, 69.0).rows.tolist() == [[2.0]]
    table = extract(loaded, 70.0)
    assert table.rows.tolist() == [[1.0], [2.0]]
    assert table.labels == ("dry", "wet")
    assert table.times is not None
    assert table.times.known.tolist() == [70.0, 65.0]
