"""A project whose features come from two views of a store: pumps by the hour, and the site that each stands in."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tests.unit.trainer.features.small_views import StandingClock
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.views.view import Entity, FeatureView, Source, ViewFeature
from trainer.project.loading import load_project
from trainer.project.project import LoadedProject

START = datetime(2026, 3, 1, tzinfo=UTC)
PUMP = Entity(name="pump", key="pump_id")
HOURLY = FeatureView(
    name="hourly",
    entities=(PUMP,),
    features=(ViewFeature(name="pressure", unit="bar"), ViewFeature(name="vibration")),
    source=Source(timestamp="at", known="known"),
)
PLACES = FeatureView(
    name="places",
    entities=(PUMP,),
    features=(ViewFeature(name="site", dtype="text"),),
    source=Source(timestamp="at"),
)
TRUTHS = FeatureView(
    name="truths",
    entities=(PUMP,),
    features=(ViewFeature(name="quality", dtype="text"),),
    source=Source(timestamp="at", known="known"),
)
PUMPS = ("p1", "p2")

_PROJECT = """\
name = "quality"

[data]
{data}

[target]
column = "quality"
task = "classification"

[training]
candidates = ["forest"]
trials = 1
blocks = 2

[export]
variants = ["onnx-fp32"]

[gate]
max_chance = 1.0

[[features]]
name = "pressure"
unit = "bar"

[[features]]
name = "vibration"
{features}"""

FROM_FILE = 'path = ["labels.csv"]\nview = ["hourly"]\ntimestamp = "when"'
FROM_VIEW = 'labels = "truths"\nview = "hourly"\nentity = "pump_id"'
SITE = '\n[[features]]\nname = "site"\ndtype = "category"\ncategories = ["north", "south"]\n'


def hour(number: float) -> str:
    """Return so many hours after the start, as text."""
    return (START + timedelta(hours=number)).isoformat()


def write_view_project(folder: Path, data: str = FROM_FILE, features: str = "") -> LoadedProject:
    """Write the project, with a store that has its three views and no rows."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fieldloop.toml").write_text(_PROJECT.format(data=data, features=features), encoding="utf-8")
    loaded = load_project(folder)
    store = store_of(loaded)
    for view in (HOURLY, PLACES, TRUTHS):
        store.catalogue.register(view)
    return loaded


def store_of(loaded: LoadedProject) -> FeatureStore:
    """Open the project's store."""
    return FeatureStore(loaded.feature_store, StandingClock())


def push_hours(loaded: LoadedProject, hours: range, *, delay_h: float = 0.0, truths: bool = True) -> None:
    """Push a row of each pump for each hour, known so much later; and, half an hour after it, what became of it."""
    rng = np.random.default_rng(hours.start)
    drawn = [(pump, number, *rng.normal(size=2)) for number in hours for pump in PUMPS]
    store = store_of(loaded)
    store.push(
        "hourly",
        table(
            pump_id=[pump for pump, *_ in drawn],
            at=[hour(number) for _, number, *_ in drawn],
            known=[hour(number + delay_h) for _, number, *_ in drawn],
            pressure=[pressure for *_, pressure, _ in drawn],
            vibration=[vibration for *_, vibration in drawn],
        ),
    )
    if truths:
        at = [hour(number + delay_h + 0.5) for _, number, *_ in drawn]
        labels = ["good" if pressure + vibration > 0 else "scrap" for *_, pressure, vibration in drawn]
        store.push("truths", table(pump_id=[pump for pump, *_ in drawn], at=at, known=at, quality=labels))


def write_labels(loaded: LoadedProject, *rows: tuple[str, float, str], **more: list[Any]) -> None:
    """Write the file of labelled rows: pump, hour, label; and further columns."""
    columns = {
        "pump_id": [pump for pump, _, _ in rows],
        "when": [hour(number) for _, number, _ in rows],
        "quality": [label for _, _, label in rows],
    }
    pyarrow.csv.write_csv(pa.table({**columns, **more}), loaded.folder / "labels.csv")


def table(**columns: list[Any]) -> list[tuple[str, Any]]:
    """Return raw rows as a source gives them."""
    return [("rows of the test", pa.table(columns))]
