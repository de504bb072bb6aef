"""A new project's store is a copy of a kept one, and is what MLflow would have made."""

import sqlite3
from contextlib import closing

import mlflow.store.db.utils
import pytest

from trainer.registry.empty_store import keep_empty_store, lay_empty_store
from trainer.registry.tracking import STORE_NAME, ensure_experiment, open_client, tracking_uri


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own; return its folder of stores."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fieldloop" / "mlflow"


@pytest.fixture
def without_migrations(monkeypatch):
    """From now on MLflow makes no tables."""

    def refuse(_):
        raise AssertionError("MLflow makes the tables")

    def arm():
        monkeypatch.setattr(mlflow.store.db.utils, "_initialize_tables", refuse)

    return arm


def content(file):
    with closing(sqlite3.connect(file)) as store:
        schema = sorted(store.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall(), key=str)
        tables = [name for kind, name, *_ in schema if kind == "table"]
        rows = {name: store.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}  # noqa: S608 - its own
    # When it was made is its own.
    rows["experiments"] = [row[:4] for row in rows["experiments"]]
    return schema, rows


def test_a_second_project_gets_what_the_first_one_was_given(tmp_path, monkeypatch, cache, without_migrations):
    open_client(tmp_path / "first")
    assert [file.suffix for file in cache.iterdir()] == [".db"]
    without_migrations()
    monkeypatch.chdir(tmp_path)
    client = open_client(tmp_path / "second")
    schema, rows = content(tmp_path / "second" / STORE_NAME)
    first_schema, first_rows = content(tmp_path / "first" / STORE_NAME)
    assert schema == first_schema
    # Its experiment 0 is its own: artefacts of nobody's else.
    assert str(tmp_path / "mlruns") in str(rows.pop("experiments"))
    first_rows.pop("experiments")
    assert rows == first_rows
    experiment = ensure_experiment(client, "one", tmp_path / "second")
    client.set_terminated(client.create_run(experiment).info.run_id)
    assert [file.name for file in (tmp_path / "second").iterdir()] == [STORE_NAME]


def test_a_damaged_store_is_not_used_and_is_replaced(tmp_path, cache, without_migrations):
    open_client(tmp_path / "first")
    (kept,) = cache.iterdir()
    good = kept.read_bytes()
    for damaged in (b"", good[:5000], good[:40_000] + b"\xff" * 8000 + good[48_000:], b"no database" * 1000):
        kept.write_bytes(damaged)
        assert not lay_empty_store(tmp_path / STORE_NAME)
    open_client(tmp_path / "second")
    without_migrations()
    open_client(tmp_path / "third", tracking_uri(tmp_path / "third"))
    assert content(tmp_path / "second" / STORE_NAME)[0] == content(tmp_path / "third" / STORE_NAME)[0]


def test_a_store_with_records_is_neither_kept_nor_laid_over(tmp_path, cache):
    state = tmp_path / "state"
    client = open_client(state)
    (kept,) = cache.iterdir()
    ensure_experiment(client, "one", state)
    assert not lay_empty_store(state / STORE_NAME)
    assert client.get_experiment_by_name("one") is not None
    kept.unlink()
    assert not keep_empty_store(state / STORE_NAME)
    assert not kept.exists()


def test_of_two_processes_that_lay_it_at_once_the_second_takes_nothing_away(tmp_path, monkeypatch):
    open_client(tmp_path / "first")
    file = tmp_path / STORE_NAME
    monkeypatch.setattr("trainer.registry.empty_store.os.link", lambda *_: _raise(FileExistsError()))
    assert not lay_empty_store(file)
    assert list(tmp_path.glob(".store-*")) == []


def test_without_a_cache_a_project_has_its_store_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    client = open_client(tmp_path / "state")
    assert ensure_experiment(client, "one", tmp_path / "state")


def _raise(error):
    raise error
