"""What sources hold now comes into the store: what is new alone, of all of them or of none."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pytest
import sqlalchemy

from tests.unit.trainer.features.small_views import HOURLY, StandingClock
from trainer.errors import DataError, ProjectError
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.pulling import pull_views
from trainer.features.sources.reading import Access
from trainer.features.views.view import FeatureView, Source, ViewFeature, verify_view

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

HEAD = "machine_id,at,known,load,parts"
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
NO_ENVIRONMENT = Access({})


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(str(tmp_path / "store"), StandingClock())


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join([HEAD, *lines]) + "\n")


def line(hour: int, load: float, machine: str = "m1") -> str:
    at = (BEGIN + timedelta(hours=hour)).isoformat()
    return f"{machine},{at},{at},{load},1"


def declare(store: FeatureStore, source: Source, name: str = "hourly") -> FeatureView:
    view = msgspec.structs.replace(HOURLY, name=name, source=source, ttl_s=None)
    store.catalogue.register(view)
    return view


def files(*paths: Path | str) -> Source:
    return Source(path=tuple(map(str, paths)), timestamp="at", known="known")


def pull(store: FeatureStore, *names: str, access: Access = NO_ENVIRONMENT) -> list[tuple[int, int]]:
    """Return of each view how many rows were read, and how many of them are new."""
    return [(read.given, read.added) for read in pull_views(store, names or ("hourly",), access)]


def loads(store: FeatureStore) -> list[float]:
    hours = [BEGIN + timedelta(hours=hour, minutes=1) for hour in range(3)]
    asked = pa.table({"machine_id": ["m1"] * 3, "event_timestamp": hours})
    return list(store.extract(asked, ["hourly:load"]).column("load").to_pylist())


def test_only_files_that_changed_are_read_and_only_what_is_new_is_stored(store: FeatureStore, tmp_path: Path) -> None:
    declare(store, files(tmp_path / "*.csv"))
    write(tmp_path / "a.csv", line(0, 1.0))
    assert pull(store) == [(1, 1)]
    assert pull(store) == [(0, 0)]
    write(tmp_path / "b.csv", line(1, 2.0))
    assert pull(store) == [(1, 1)]
    # As long as before, and written in the same moment: its content tells.
    write(tmp_path / "a.csv", line(0, 9.0))
    assert pull(store) == [(1, 1)]
    write(tmp_path / "a.csv", line(0, 9.0), line(2, 3.0))
    assert pull(store) == [(2, 1)]
    assert loads(store) == [9.0, 2.0, 3.0]


@pytest.mark.parametrize(("address", "again"), [("file://{}/rows.csv", 0), ("memory://pulled/rows.csv", 1)])
def test_a_file_elsewhere_is_read_again_unless_something_says_that_it_is_the_same(
    store: FeatureStore, tmp_path: Path, address: str, again: int
) -> None:
    import fsspec

    where = address.format(tmp_path)
    declare(store, files(where))
    for number, rows in enumerate(([line(0, 1.0)], [line(0, 1.0), line(1, 2.0)])):
        with fsspec.open(where, "w") as file:
            file.write("\n".join([HEAD, *rows]) + "\n")
        assert pull(store) == [(number + 1, 1)]
        assert pull(store) == [(again * (number + 1), 0)]


def test_files_that_contradict_each_other_are_decided_once(store: FeatureStore, tmp_path: Path) -> None:
    declare(store, files(tmp_path / "*.csv"))
    write(tmp_path / "a.csv", line(0, 1.0))
    write(tmp_path / "b.csv", line(0, 2.0))
    assert pull(store) == [(2, 1)]
    assert loads(store)[0] == 2.0
    for path in store.files.list("marks/*"):
        store.files.remove([path])
    assert pull(store) == [(2, 0)]
    assert loads(store)[0] == 2.0


def test_another_declaration_reads_everything(store: FeatureStore, tmp_path: Path) -> None:
    view = declare(store, files(tmp_path / "a.csv"))
    (tmp_path / "a.csv").write_text(f"{HEAD},site\n{line(0, 1.0)},north\n")
    assert pull(store) == [(1, 1)]
    store.catalogue.register(
        msgspec.structs.replace(view, features=(*view.features, ViewFeature(name="site", dtype="text")))
    )
    assert pull(store) == [(1, 1)]


def test_rows_that_are_gone_from_the_store_are_read_again(store: FeatureStore, tmp_path: Path) -> None:
    declare(store, files(tmp_path / "a.csv"))
    write(tmp_path / "a.csv", line(0, 1.0))
    pull(store)
    store.files.remove(store.files.list("rows/hourly/*.parquet"))
    assert pull(store) == [(1, 1)]


@pytest.mark.parametrize("wrong", ["", f"{HEAD}\nm1,yesterday,today,1,1\n"])
def test_where_one_source_cannot_be_read_none_of_them_brings_a_row(
    store: FeatureStore, tmp_path: Path, wrong: str
) -> None:
    declare(store, files(tmp_path / "a.csv"))
    declare(store, files(tmp_path / "a.csv", tmp_path / "b.csv"), "other")
    write(tmp_path / "a.csv", line(0, 1.0))
    if wrong:
        (tmp_path / "b.csv").write_text(wrong)
    with pytest.raises(DataError, match=r"view 'other': its source cannot be read, and nothing was changed: .*b\.csv"):
        pull(store, "hourly", "other")
    assert not store.files.list("rows/*/*.parquet")
    assert not store.files.list("marks/*")


def test_a_view_that_is_not_to_be_pulled_is_left_alone(store: FeatureStore, tmp_path: Path) -> None:
    declare(store, msgspec.structs.replace(files(tmp_path / "nowhere.csv"), pull=False))
    assert pull(store) == [(0, 0)]
    declare(store, Source(), "pushed")
    assert pull(store, "pushed") == [(0, 0)]


def test_the_fleet_is_asked_where_somebody_knows_it(store: FeatureStore) -> None:
    declare(store, Source(fleet="labels", timestamp="at", known="known"))
    with pytest.raises(DataError, match="was not told where they are"):
        pull(store)
    at = BEGIN.isoformat()
    sent = pa.table({"machine_id": ["m1"], "at": [at], "known": [at], "load": [1.0], "parts": [1]})
    assert pull(store, access=Access({}, lambda *_: [("the fleet", sent)])) == [(1, 1)]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize(("zone", "epoch"), [("UTC", None), ("Europe/Zurich", None), (None, "ms")])
def test_a_query_gives_the_rows_of_the_last_day_and_those_that_came_since(
    store: FeatureStore,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    kind: str,
    zone: str | None,
    epoch: str | None,
) -> None:
    address = f"sqlite:///{tmp_path / 'readings.db'}"
    if kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        address = server.new_database(f"pulled_{str(zone).replace('/', '_').lower()}")
    engine = sqlalchemy.create_engine(address)
    time = sqlalchemy.BigInteger() if epoch else sqlalchemy.DateTime()
    readings = sqlalchemy.Table(
        "readings",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("machine_id", sqlalchemy.Text),
        sqlalchemy.Column("at", time),
        sqlalchemy.Column("known", time),
        sqlalchemy.Column("load", sqlalchemy.Float),
        sqlalchemy.Column("parts", sqlalchemy.Integer),
    )
    readings.create(engine)

    def insert(*hours: tuple[int, int]) -> None:
        """Insert rows of an hour, known in another."""
        with engine.begin() as connection:
            for at, known in hours:
                times = [
                    round((BEGIN + timedelta(hours=hour)).timestamp() * 1000) if epoch else local(hour, str(zone))
                    for hour in (at, known)
                ]
                values = dict(zip(("at", "known"), times, strict=True))
                connection.execute(readings.insert(), {"machine_id": "m1", **values, "load": float(at), "parts": 1})

    query = "SELECT machine_id, at, known, load, parts FROM readings WHERE known >= :since"
    named = Source(
        query=query,
        database_env="READINGS",
        timestamp="at",
        known="known",
        zone=zone,
        epoch=epoch,  # type: ignore[arg-type]
    )
    declare(store, named)
    access = Access({"READINGS": address})
    assert pull(store, access=access) == [(0, 0)]
    insert((0, 0), (1, 1), (75, 75), (100, 100))
    assert pull(store, access=access) == [(4, 4)]
    # One happened long ago and became known late, one was written before the newest one and seen after it.
    insert((2, 101), (80, 80), (101, 101))
    assert pull(store, access=access) == [(4, 3)]
    assert loads(store)[:2] == [0.0, 1.0]
    engine.dispose()


def local(hour: int, zone: str) -> datetime:
    from zoneinfo import ZoneInfo

    return (BEGIN + timedelta(hours=hour)).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def test_a_query_that_asks_since_a_moment_says_which_column_is_meant() -> None:
    source = Source(query="SELECT 1 WHERE at >= :since", database="sqlite://", timestamp="at")
    with pytest.raises(ProjectError, match="needs 'known'"):
        verify_view(msgspec.structs.replace(HOURLY, source=source))
    # A cast of PostgreSQL is no such moment.
    verify_view(msgspec.structs.replace(HOURLY, source=msgspec.structs.replace(source, query="SELECT a::since")))
