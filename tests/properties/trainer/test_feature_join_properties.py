"""Whatever is pushed, how late, how often, corrected or not: an extract is what a look through all rows finds."""

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.trainer.features.small_views import StandingClock
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.online.lookup import Lookup, Progress
from trainer.features.online.materialise import materialise
from trainer.features.online.sqlite_store import SqliteOnline
from trainer.features.views.view import Entity, FeatureView, Source, ViewFeature

START = datetime(2026, 3, 29, tzinfo=UTC)
HORIZON = 12
KEY = Entity(name="device", key="device")


@dataclass(frozen=True)
class Told:
    """A row: hours since the start, and the zone in which its event is written, in hours."""

    device: str
    event: int
    known: int
    value: float | None
    zone: int


told = st.builds(
    Told,
    device=st.sampled_from("ab"),
    event=st.integers(0, HORIZON),
    # Late ones, some told before they happen.
    known=st.integers(0, HORIZON),
    value=st.sampled_from([None, 0.0, 1.0, 2.0]),
    zone=st.integers(-3, 3),
)
pushes = st.lists(st.lists(told, max_size=6), max_size=4)
ttls = st.sampled_from([None, 1, 3])
gentle = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Doubled, corrected at the same moment, and put back.
RETURN = [[Told("a", 1, 1, 1.0, 0)], [Told("a", 1, 1, 2.0, 0)], [Told("a", 1, 1, 1.0, 2)]]
# Late: when it comes, a newer one is known.
LATE = [[Told("a", 3, 3, 1.0, 0), Told("a", 1, 5, 2.0, 0)]]


@gentle
@given(pushes=pushes, ttl=ttls, known=st.sampled_from(["known", None]))
@example(pushes=RETURN, ttl=None, known="known")
@example(pushes=LATE, ttl=None, known="known")
@example(pushes=LATE, ttl=1, known="known")
def test_an_extract_is_what_a_look_through_all_rows_finds(
    pushes: list[list[Told]], ttl: int | None, known: str | None
) -> None:
    view = make_view("one", ttl, known=known)
    other = make_view("two", 2, known=known)
    questions = [(device, hour) for hour in reversed(range(HORIZON + 2)) for device in "bca"]
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(folder, StandingClock())
        for each in (view, other):
            store.catalogue.register(each)
            for push in pushes:
                store.push(each.name, [("rows", table_of(push, each))])
        asked = pa.table(
            {
                "device": [device for device, _ in questions],
                "event_timestamp": [START + timedelta(hours=hour) for _, hour in questions],
            }
        )
        found = store.extract(asked, ["one", "two"])
    assert found.column("device").to_pylist() == [device for device, _ in questions]
    assert found.column("one_value").to_pylist() == [look(pushes, view, *question) for question in questions]
    assert found.column("two_value").to_pylist() == [look(pushes, other, *question) for question in questions]


@gentle
@given(pushes=pushes, ttl=ttls, hours=st.lists(st.integers(0, HORIZON), min_size=4, max_size=4))
def test_what_is_online_is_what_an_extract_of_that_moment_holds(
    pushes: list[list[Told]], ttl: int | None, hours: list[int]
) -> None:
    view, clock, done = make_view("one", ttl, known="known"), StandingClock(), []
    with tempfile.TemporaryDirectory() as folder:
        store, online = FeatureStore(folder, clock), SqliteOnline(Path(folder) / "online.db")
        store.catalogue.register(view)
        lookup = Lookup(online, view, clock)
        # Pushes come while time passes; the newest are brought online after each.
        for push, hour in zip(pushes, sorted(hours), strict=False):
            clock.now_s = (START + timedelta(hours=hour)).timestamp()
            store.push("one", [("rows", table_of(push, view))])
            done.append(push)
            materialise(store, "one", online, clock, batch=1)
            for device in "abc":
                assert lookup.find(device).values["one_value"] == look(done, view, device, hour)
        assert online.progress("one").goal_us == 0 or not done
        assert online.progress("two") == Progress()
        online.close()


def make_view(name: str, ttl: int | None, *, known: str | None) -> FeatureView:
    return FeatureView(
        name=name,
        entities=(KEY,),
        features=(ViewFeature(name=f"{name}_value"),),
        source=Source(timestamp="at", known=known),
        ttl_s=None if ttl is None else ttl * 3600.0,
    )


def table_of(push: list[Told], view: FeatureView) -> pa.Table:
    at = [(START + timedelta(hours=row.event)).astimezone(timezone(timedelta(hours=row.zone))) for row in push]
    return pa.table(
        {
            "device": pa.array([row.device for row in push], pa.string()),
            "at": pa.array([moment.isoformat() for moment in at], pa.string()),
            "known": pa.array([START + timedelta(hours=row.known) for row in push], pa.timestamp("us", "UTC")),
            view.features[0].name: pa.array([row.value for row in push], pa.float64()),
        }
    )


def look(pushes: list[list[Told]], view: FeatureView, device: str, hour: int) -> float | None:
    """Find a value the slow way: of all rows known and happened by then the newest, corrected by the later ones."""
    best, value = None, None
    for number, push in enumerate(pushes):
        for place, row in enumerate(push):
            known = row.known if view.source.known else row.event
            if row.device != device or max(row.event, known) > hour:
                continue
            rank = (row.event, known, number, place)
            if best is None or rank >= best:
                best, value = rank, row.value
    if best is None or (view.ttl_s is not None and hour - best[0] > view.ttl_s / 3600):
        return None
    return value
