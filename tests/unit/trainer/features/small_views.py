"""A view of machines, small tables of its rows, and a clock, for tests of the feature store."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from trainer.features.views.view import Entity, FeatureView, Source, ViewFeature

MACHINE = Entity(name="machine", key="machine_id")
HOURLY = FeatureView(
    name="hourly",
    entities=(MACHINE,),
    features=(ViewFeature(name="load", unit="kW", range=(0.0, 50.0)), ViewFeature(name="parts", dtype="int")),
    source=Source(timestamp="at", known="known"),
    ttl_s=7200.0,
    owner="plant",
)
NOW_S = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()


class StandingClock:
    """Says what it is told."""

    def __init__(self, utc_s: float = NOW_S) -> None:
        self.now_s = utc_s

    def monotonic_s(self) -> float:
        return self.now_s

    def utc_s(self) -> float:
        return self.now_s


def rows(*values: tuple[str, str, str, float | None, int | None]) -> list[tuple[str, Any]]:
    """Return a raw table as a source gives it: machine, hour of the event, hour at which it was known, load, parts."""
    machines, events, known, loads, parts = zip(*values, strict=True)
    table = pa.table(
        {
            "machine_id": list(machines),
            "at": [moment(hour) for hour in events],
            "known": [moment(hour) for hour in known],
            "load": pa.array(loads, pa.float64()),
            "parts": pa.array(parts, pa.int64()),
        }
    )
    return [("rows of the test", table)]


def asked(*questions: tuple[str, str]) -> Any:
    """Return rows of a machine and an hour."""
    machines, hours = zip(*questions, strict=True)
    return pa.table({"machine_id": list(machines), "event_timestamp": [moment(hour) for hour in hours]})


def moment(hour: str) -> str:
    """Return an hour, 08:00, of the day of the tests, as text."""
    return f"2026-03-02T{hour}:00Z"
