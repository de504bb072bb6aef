"""A store takes rows late, doubled and corrected, and answers as of a time; in a folder and in memory alike."""

import shutil
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from tests.unit.trainer.features.small_views import HOURLY, NOW_S, StandingClock, asked, moment, rows
from trainer.errors import DataError
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.offline.statistics import view_statistics
from trainer.features.views.view import ViewFeature


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    address = str(tmp_path / "it's a store") if request.param == "folder" else f"memory://{tmp_path.name}"
    made = FeatureStore(address, StandingClock())
    made.catalogue.register(HOURLY)
    return made


def loads(store: FeatureStore, *hours: str) -> list[float | None]:
    table = store.extract(asked(*(("m1", hour) for hour in hours)), ["hourly:load"])
    assert table.column_names == ["machine_id", "event_timestamp", "load"]
    return list(table.column("load").to_pylist())


def test_a_correction_counts_from_when_it_was_known(store: FeatureStore) -> None:
    store.push("hourly", rows(("m1", "08:00", "08:00", 1.0, None)))
    store.push("hourly", rows(("m1", "08:00", "09:00", 2.0, None)))
    assert loads(store, "07:59", "08:00", "08:59", "09:00", "10:00", "10:01") == [None, 1.0, 1.0, 2.0, 2.0, None]


def test_a_late_row_never_hides_a_newer_one(store: FeatureStore) -> None:
    store.push("hourly", rows(("m1", "09:00", "09:00", 2.0, None), ("m1", "08:00", "09:30", 1.0, None)))
    assert loads(store, "08:30", "09:29", "09:30") == [None, 2.0, 2.0]


def test_what_is_there_is_not_stored_twice_and_what_is_put_back_counts_again(store: FeatureStore) -> None:
    first, second = (rows(("m1", "08:00", "08:00", load, None)) for load in (1.0, 2.0))
    added = [store.push("hourly", each).added for each in (first, first, second, second, first, first * 2)]
    assert added == [1, 0, 1, 0, 1, 0]
    assert loads(store, "08:00") == [1.0]


def test_rows_stay_when_a_view_gets_another_feature(store: FeatureStore) -> None:
    store.push("hourly", rows(("m1", "08:00", "08:00", 1.0, 2)))
    features = (*HOURLY.features, ViewFeature(name="site", dtype="text"))
    store.catalogue.register(msgspec.structs.replace(HOURLY, features=features))
    found = store.extract(asked(("m1", "08:00")), ["hourly"]).to_pylist()[0]
    assert (found["load"], found["parts"], found["site"]) == (1.0, 2, None)


def test_a_push_of_which_only_the_rows_were_written_is_seen(store: FeatureStore) -> None:
    store.push("hourly", rows(("m1", "08:00", "08:00", 1.0, None)))
    store.files.remove(store.files.list("series/hourly/*.parquet"))
    assert loads(store, "08:00") == [1.0]


def test_a_clock_that_went_back_makes_no_old_row_the_newest(tmp_path: Path) -> None:
    clock = StandingClock()
    store = FeatureStore(str(tmp_path), clock)
    store.catalogue.register(HOURLY)
    store.push("hourly", rows(("m1", "08:00", "08:00", 1.0, None)))
    clock.now_s = NOW_S - 1000
    store.push("hourly", rows(("m1", "08:00", "08:00", 2.0, None)))
    assert loads(store, "08:00") == [2.0]


def test_the_rows_that_ask_keep_their_order_and_their_columns(store: FeatureStore) -> None:
    store.push("hourly", rows(("m1", "08:00", "08:00", 1.0, 1), ("m2", "08:00", "08:00", 2.0, 2)))
    questions = asked(("m2", "08:00"), ("m0", "08:00"), ("m1", "08:00"), ("m2", "07:00"))
    questions = questions.append_column("load", pa.array(["a", "b", "c", "d"]))
    found = store.extract(questions, ["hourly"])
    assert found.column_names == ["machine_id", "event_timestamp", "load", "hourly__load", "parts"]
    assert found.column("load").to_pylist() == ["a", "b", "c", "d"]
    assert found.column("hourly__load").to_pylist() == [2.0, None, 1.0, None]


def test_a_question_that_cannot_be_answered_is_refused(store: FeatureStore) -> None:
    for wanted, told in ((["other"], "no view"), (["hourly:weight"], "no feature"), (["hourly"] * 3, "twice")):
        with pytest.raises(DataError, match=told):
            store.extract(asked(("m1", "08:00")), wanted)
    with pytest.raises(DataError, match="'machine_id', the key"):
        store.extract(pa.table({"event_timestamp": [moment("08:00")]}), ["hourly"])
    with pytest.raises(DataError, match="row 0: no key"):
        store.extract(pa.table({"machine_id": [None], "event_timestamp": [moment("08:00")]}), ["hourly"])
    with pytest.raises(DataError, match="no column 'when'"):
        store.extract(asked(("m1", "08:00")), ["hourly"], time="when")


def test_the_newest_rows_are_those_known_and_valid_now(store: FeatureStore) -> None:
    store.push(
        "hourly",
        rows(
            *(("m1", "10:00", "10:00", 1.0, None), ("m1", "11:00", "12:01", 2.0, None)),
            *(("m2", "09:59", "09:59", 3.0, None), ("m3", "12:00", "12:00", None, 4)),
        ),
    )
    found = store.latest("hourly", now_utc_s=NOW_S).to_pylist()
    assert [(row["machine_id"], row["load"], row["parts"]) for row in found] == [("m1", 1.0, None), ("m3", None, 4)]


def test_statistics_are_of_what_counts_at_their_time(store: FeatureStore) -> None:
    store.push(
        "hourly",
        rows(
            *(("m1", "08:00", "08:00", 10.0, None), ("m1", "11:00", "11:10", 60.0, 3)),
            *(("m2", "09:00", "09:00", -1.0, None), ("m3", "11:30", "12:30", 5.0, 1)),
        ),
    )
    found = view_statistics(store, "hourly", NOW_S)
    load, parts = found.features
    assert (found.rows, found.entities, found.delay_s) == (3, 2, 0.0)
    assert (load.rows, load.missing, load.least, load.greatest, load.mean) == (3, 0, -1.0, 60.0, 23.0)
    assert (load.out_of_range, load.age_s, load.fresh) == (2, 3600.0, 0.5)
    assert (parts.missing, parts.out_of_range, parts.fresh) == (2, None, 0.5)


def test_a_view_without_rows_has_empty_answers(store: FeatureStore) -> None:
    assert loads(store, "08:00") == [None]
    assert store.latest("hourly").num_rows == 0
    found = view_statistics(store, "hourly", NOW_S)
    assert (found.rows, found.entities, found.features[0].newest_utc_s) == (0, 0, None)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path / "store"), StandingClock())
    store.catalogue.register(HOURLY)
    store.push("hourly", rows(("m1", "08:00", "08:00", 1.0, None)))
    (part,) = (tmp_path / "store" / "rows" / "hourly").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    shutil.rmtree(tmp_path / "store" / "series")
    with pytest.raises(DataError, match="restore what is damaged"):
        loads(store, "08:00")
