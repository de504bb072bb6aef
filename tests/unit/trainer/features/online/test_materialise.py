"""What is new comes online, once; a materialise that was killed is finished by another process."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tests.conftest import REPOSITORY
from tests.unit.trainer.features.small_views import HOURLY, NOW_S, StandingClock, moment, rows
from tests.waiting import wait_until
from trainer.errors import DataError
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.online.lookup import Lookup
from trainer.features.online.materialise import materialise
from trainer.features.online.sqlite_store import SqliteOnline

MANY = 3000
PROGRAM = """
import sys
from pathlib import Path
from tests.unit.trainer.features.small_views import StandingClock
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.online.materialise import materialise
from trainer.features.online.sqlite_store import SqliteOnline

store, online = FeatureStore(sys.argv[1], StandingClock()), SqliteOnline(Path(sys.argv[2]))
materialise(store, "hourly", online, StandingClock(), batch=1)
"""


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    made = FeatureStore(str(tmp_path / "store"), StandingClock())
    made.catalogue.register(HOURLY)
    return made


def test_only_what_came_or_became_available_since_is_brought_online(store: FeatureStore, tmp_path: Path) -> None:
    clock, online = StandingClock(), SqliteOnline(tmp_path / "online.db")
    lookup = Lookup(online, HOURLY, clock)
    store.push("hourly", rows(("m1", "11:00", "11:00", 1.0, 1), ("m2", "11:00", "12:30", 2.0, 2)))
    assert materialise(store, "hourly", online, clock).rows == 1
    assert lookup.find("m2").event_utc_s is None
    # Nothing came, but what was stored before has become known.
    clock.now_s = NOW_S + 1800
    assert materialise(store, "hourly", online, clock).rows == 1
    assert lookup.find("m2").values == {"load": 2.0, "parts": 2}
    # Late, and older than what is there.
    store.push("hourly", rows(("m1", "10:00", "10:00", 9.0, 9)))
    assert materialise(store, "hourly", online, clock).rows == 0
    assert lookup.find("m1").values == {"load": 1.0, "parts": 1}
    online.close()


def test_what_is_older_than_its_ttl_is_not_given_out(store: FeatureStore, tmp_path: Path) -> None:
    clock, online = StandingClock(), SqliteOnline(tmp_path / "online.db")
    store.push("hourly", rows(("m1", "10:00", "10:00", 1.0, None)))
    materialise(store, "hourly", online, clock)
    lookup = Lookup(online, HOURLY, clock)
    assert lookup.find("m1").is_valid
    clock.now_s = NOW_S + 1
    found = lookup.find("m1")
    assert (found.is_valid, found.values) == (False, {"load": None, "parts": None})
    assert found.event_utc_s == NOW_S - 7200
    online.close()


@pytest.mark.parametrize("key", [(), ("m1", "m2"), (1,)])
def test_a_key_of_another_kind_is_refused(tmp_path: Path, key: tuple[str | int, ...]) -> None:
    online = SqliteOnline(tmp_path / "online.db")
    with pytest.raises(DataError, match=r"machine_id \(text\)"):
        Lookup(online, HOURLY, StandingClock()).find(*key)
    online.close()


def test_one_that_is_killed_is_finished_by_another_process(store: FeatureStore, tmp_path: Path) -> None:
    machines = [f"m{number:05}" for number in range(MANY)]
    at = [moment("11:00")] * MANY
    loads = [float(number) for number in range(MANY)]
    table = pa.table({"machine_id": machines, "at": at, "known": at, "load": loads, "parts": list(range(MANY))})
    store.push("hourly", [("rows", table)])
    file, folder = tmp_path / "online.db", tmp_path / "store"
    online = SqliteOnline(file)
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), str(file)], cwd=REPOSITORY)
    try:
        wait_until(lambda: online.progress("hourly").after != "", 120, "some rows are online")
    finally:
        process.kill()
        process.wait()
    there = online.progress("hourly").after
    done = materialise(store, "hourly", online, StandingClock())
    lookup = Lookup(online, HOURLY, StandingClock())
    assert [lookup.find(machine).values["load"] for machine in machines] == loads
    # Unless it was done before it was killed, only the rest was written.
    assert there == "" or (done.resumed and done.rows < MANY)
    online.close()
