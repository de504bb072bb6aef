"""Rows come from files by address and from databases as they come from a file of this machine."""

from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import fsspec
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy

from tests.postgres import PASSWORD, PostgresServer
from tests.unit.trainer.features.small_views import HOURLY, StandingClock
from trainer.errors import DataError
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.sources.reading import read_source
from trainer.features.views.view import FeatureView, Source

TEXT = """\
machine_id,at,known,load,parts
m1,2026-03-02T08:00:00Z,2026-03-02T08:00:00Z,11.5,3
m2,2026-03-02T09:00:00Z,2026-03-02T09:00:00Z,,
"""
WANTED = [
    {"machine_id": "m1", "event_timestamp": datetime(2026, 3, 2, 8, tzinfo=UTC), "load": 11.5, "parts": 3},
    {"machine_id": "m2", "event_timestamp": datetime(2026, 3, 2, 9, tzinfo=UTC), "load": None, "parts": None},
]
_NUMBERS = count()
QUERY = "SELECT machine_id, at, known, load, parts FROM readings WHERE load IS NULL OR load < 50"


def view_of(source: Source) -> FeatureView:
    return msgspec.structs.replace(HOURLY, source=source, ttl_s=None)


def latest(view: FeatureView, tmp_path: Path, environ: dict[str, str] | None = None) -> list[dict[str, object]]:
    """Push a view's source into a new store, and return the newest rows."""
    store = FeatureStore(str(tmp_path / "store"), StandingClock())
    store.catalogue.register(view)
    store.push("hourly", read_source(view, environ or {}, lambda *_: ()))
    return list(store.latest("hourly").to_pylist())


def parquet_at(address: str) -> None:
    times = pa.array([datetime(2026, 3, 2, 8, tzinfo=UTC), datetime(2026, 3, 2, 9, tzinfo=UTC)])
    table = pa.table(
        {"machine_id": ["m1", "m2"], "at": times, "known": times, "load": [11.5, None], "parts": [3, None]}
    )
    with fsspec.open(address, "wb") as file:
        pq.write_table(table, file)


def test_files_are_read_by_path_and_pattern(tmp_path: Path) -> None:
    for name, line in zip("ab", TEXT.splitlines()[1:], strict=True):
        (tmp_path / f"{name}.csv").write_text(f"{TEXT.splitlines()[0]}\n{line}\n")
    source = Source(path=(str(tmp_path / "*.csv"),), timestamp="at", known="known")
    assert latest(view_of(source), tmp_path) == WANTED


@pytest.mark.parametrize("address", ["memory://readings/rows.parquet", "file://{}/rows.parquet"])
def test_files_are_read_by_address(tmp_path: Path, address: str) -> None:
    parquet_at(address.format(tmp_path))
    assert latest(view_of(Source(path=(address.format(tmp_path),), timestamp="at", known="known")), tmp_path) == WANTED


def test_a_file_that_is_not_there_and_a_bad_value_are_told_by_address_and_row(tmp_path: Path) -> None:
    view = view_of(Source(path=("memory://nowhere/rows.csv",), timestamp="at"))
    with pytest.raises(DataError, match=r"memory://.*nowhere/rows\.csv"):
        latest(view, tmp_path)
    with fsspec.open("memory://odd/rows.csv", "w") as file:
        file.write(TEXT.replace("11.5", "eleven"))
    view = view_of(Source(path=("memory://odd/rows.csv",), timestamp="at", known="known"))
    with pytest.raises(DataError, match=r"memory://.*odd/rows\.csv: column 'load': row 0: 'eleven' is not double"):
        latest(view, tmp_path)


def fill(address: str) -> None:
    engine = sqlalchemy.create_engine(address)
    table = sqlalchemy.Table(
        "readings",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("machine_id", sqlalchemy.Text),
        sqlalchemy.Column("at", sqlalchemy.DateTime(timezone=True)),
        sqlalchemy.Column("known", sqlalchemy.DateTime(timezone=True)),
        sqlalchemy.Column("load", sqlalchemy.Float),
        sqlalchemy.Column("parts", sqlalchemy.Integer),
    )
    names = ("machine_id", "at", "load", "parts")
    rows = [dict(zip(names, row.values(), strict=True), known=row["event_timestamp"]) for row in WANTED]
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), [*rows, {**rows[0], "machine_id": "m3", "load": 60.0}])
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path / 'readings.db'}"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        address = server.new_database(f"readings_{next(_NUMBERS)}")
    fill(address)
    return address


def test_rows_are_read_from_a_database(tmp_path: Path, database: str) -> None:
    # SQLite keeps no zones.
    source = Source(query=QUERY, database_env="READINGS", timestamp="at", known="known", zone="UTC")
    assert latest(view_of(source), tmp_path, {"READINGS": database}) == WANTED


def test_a_query_that_fails_is_told_without_the_password(tmp_path: Path, database: str) -> None:
    source = Source(query="SELECT nothing FROM nowhere", database_env="READINGS")
    with pytest.raises(DataError, match="nowhere") as refusal:
        latest(view_of(source), tmp_path, {"READINGS": database})
    assert PASSWORD not in str(refusal.value)
    with pytest.raises(DataError, match="READINGS is not set"):
        latest(view_of(source), tmp_path / "other")


def test_a_view_to_which_rows_are_pushed_has_no_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no source of its own"):
        latest(view_of(Source()), tmp_path)
