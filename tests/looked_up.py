"""What services of tests look up: features b and c of the toy model by machine, and d of nobody's, for two hours."""

from collections.abc import Sequence
from pathlib import Path

from edge_agent.clock import Clock, SystemClock
from trainer.features.online.lookup import Lookup, OnlineRow, OnlineStore, Progress, Value, key_text, values_bytes
from trainer.features.views.view import Entity, FeatureView, ViewFeature
from trainer.serving.asked_views import open_views
from trainer.serving.entities import EntityFeatures

MACHINES = FeatureView(
    name="machines",
    entities=(Entity(name="machine", key="machine_id"),),
    features=(ViewFeature(name="b"), ViewFeature(name="c"), ViewFeature(name="d")),
    ttl_s=7200.0,
)
PLACES = FeatureView(
    name="places",
    entities=(Entity(name="line", key="line"), Entity(name="place", key="place", dtype="int")),
    features=(ViewFeature(name="c", unit="bar"), ViewFeature(name="is_open", dtype="bool")),
)
VIEWS = {view.name: view for view in (MACHINES, PLACES)}


def put(store: OnlineStore, view: FeatureView, key: Sequence[str | int], age_s: float = 0.0, **values: Value) -> None:
    """Bring the row of an entity online; it is so many seconds old."""
    event_us = int((SystemClock().utc_s() - age_s) * 1_000_000)
    store.put(view.name, [OnlineRow(key_text(key), event_us, event_us, 0, values_bytes(values))], Progress())


def entities_of(store: OnlineStore, *wanted: str, clock: Clock | None = None) -> EntityFeatures:
    """Return what looks these views up; close it."""
    clock = clock or SystemClock()
    views = open_views(wanted, VIEWS.__getitem__, lambda view: Lookup(store, view, clock))
    return EntityFeatures(views, clock)


def write_views(folder: Path) -> Path:
    """Write the declaration of `MACHINES` as people do."""
    file = folder / "views.toml"
    features = "".join(f'\n[[views.features]]\nname = "{feature.name}"\n' for feature in MACHINES.features)
    file.write_text(
        '[[entities]]\nname = "machine"\nkey = "machine_id"\n\n'
        f'[[views]]\nname = "machines"\nentities = ["machine"]\nttl_s = 7200\n{features}',
        encoding="utf-8",
    )
    return file
