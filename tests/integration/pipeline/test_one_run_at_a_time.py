"""Two machines, each with a folder of its own, and one metadata store: their production runs do not go on at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from edge_agent.clock import SystemClock
from tests.conftest import REPOSITORY
from tests.integration.registry.stores import server_address
from tests.postgres import postgres_server
from tests.unit.trainer.cli.projects import write_small_project
from tests.waiting import wait_until
from trainer.errors import BusyError, RegistryError
from trainer.pipeline.production import RunResult, run_production
from trainer.project.loading import load_project
from trainer.registry import run_lock
from trainer.registry.registry import open_registry
from trainer.registry.run_connection import RunConnection
from trainer.registry.run_lock import run_lock as taken
from trainer.registry.tracking import open_client

__all__ = ["server_address"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KINDS: Final = ["sqlite", "postgres", "server"]
_PROGRAM: Final = Path(__file__).with_name("holds_a_run.py")


@pytest.fixture(params=KINDS)
def shared(request, tmp_path, monkeypatch):
    """The address of a store that both machines name."""
    if request.param == "postgres":
        address = request.getfixturevalue("postgres").new_database(f"one-run-{os.getpid()}-{os.urandom(4).hex()}")
    elif request.param == "server":
        address = request.getfixturevalue("server_address")
    else:
        address = f"sqlite:///{tmp_path / 'shared.db'}"
    monkeypatch.setenv("FIELDLOOP_STORES_METADATA", address)
    if request.param != "server":
        monkeypatch.setenv("FIELDLOOP_STORES_ARTEFACTS", str(tmp_path / "artefacts"))
    return address


def machine(folder: Path, name: str = "quality") -> Path:
    folder.mkdir()
    project = write_small_project(folder)
    file = project / "fieldloop.toml"
    file.write_text(file.read_text().replace('name = "quality"', f'name = "{name}"'))
    return project


def begun(project: Path, *stops: str) -> "subprocess.Popen[str]":
    """Start a run on a machine, and return when it stands before the first of these steps."""
    process = subprocess.Popen(
        [sys.executable, str(_PROGRAM), str(project), *stops],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    # Beside what MLflow says where it has a server.
    said = iter(process.stdout.readline, "")
    assert f"{stops[0]}\n" in said
    return process


@pytest.mark.usefixtures("shared")
def test_a_second_machine_is_told_who_runs_and_may_run_afterwards(tmp_path, request):
    name = f"q{abs(hash(request.node.name)) % 10**8}"
    one, two = machine(tmp_path / "one", name), machine(tmp_path / "two", name)
    other = machine(tmp_path / "other", f"{name}-other")
    first = begun(one, "train")
    try:
        with pytest.raises(BusyError, match=f"another production run of '{name}' goes on.*process {first.pid} on "):
            run_production(load_project(two), trigger="manual", reason="at once")
        # Nothing was begun, and other models do not wait.
        assert not [path for path in (two / ".fieldloop" / "pipeline").iterdir() if path.is_dir()]
        assert run_production(load_project(other), trigger="manual", reason="another model").promoted
        out, _ = first.communicate("\n", timeout=120)
        assert "promoted 1\n" in out
    finally:
        first.kill()
        first.wait()
    second = run_production(load_project(two), trigger="manual", reason="afterwards")
    assert second.decision.evidence.champion_version == 1


@pytest.mark.parametrize("shared", ["sqlite", "postgres"], indirect=True)
@pytest.mark.usefixtures("shared")
def test_a_run_that_was_killed_holds_nothing(tmp_path):
    one, two = machine(tmp_path / "one"), machine(tmp_path / "two")
    first = begun(one, "train")
    first.kill()
    first.wait()
    loaded = load_project(two)

    promoted: list[bool] = []

    def has_run():
        try:
            promoted.append(run_production(loaded, trigger="manual", reason="the other machine").promoted)
        except BusyError:
            return False
        return True

    # PostgreSQL notices a connection that was closed within milliseconds.
    wait_until(has_run, 60)
    assert promoted == [True]
    # What was broken off is taken up against the champion that there is now.
    resumed = run_production(load_project(one), trigger="", reason="", resume="last")
    assert resumed.decision.evidence.champion_version == 1


def test_a_machine_without_power_is_noticed_by_the_server_within_a_minute(postgres, tmp_path):
    address = postgres.new_database(f"keepalive-{os.getpid()}")
    client = open_client(tmp_path, address)
    with taken(address, client, "quality", SystemClock()) as alone:
        assert isinstance(alone._hold, RunConnection)
        connection = alone._hold._connection
        assert connection is not None
        shown = {
            name: connection.execute(text(f"SHOW {name}")).scalar()
            for name in (
                "tcp_keepalives_idle",
                "tcp_keepalives_interval",
                "tcp_keepalives_count",
                "idle_session_timeout",
            )
        }
    assert shown == {
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "idle_session_timeout": "0",
    }


def test_a_server_that_is_started_again_costs_a_run_nothing_and_lets_no_other_in(tmp_path, monkeypatch):
    with postgres_server() as server:
        monkeypatch.setenv("FIELDLOOP_STORES_METADATA", server.new_database("metadata"))
        monkeypatch.setenv("FIELDLOOP_STORES_ARTEFACTS", str(tmp_path / "artefacts"))
        one, two = machine(tmp_path / "one"), machine(tmp_path / "two")
        first = begun(one, "train", "evaluate")
        try:
            server.stop(signal.SIGQUIT)
            server.start()
            # The lock is taken again within seconds, while the run stands still.
            engine = create_engine(server.address("metadata"), poolclass=NullPool)

            def is_locked():
                with engine.connect() as connection:
                    return connection.execute(
                        text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
                    ).scalar()

            wait_until(is_locked, 60)
            with pytest.raises(BusyError, match=f"process {first.pid} on "):
                run_production(load_project(two), trigger="manual", reason="at once")
            out, _ = first.communicate("\n\n", timeout=120)
            assert "promoted 1\n" in out
        finally:
            first.kill()
            first.wait()


def test_a_run_whose_lock_another_machine_took_ends_before_its_next_step(postgres, tmp_path, monkeypatch):
    address = postgres.new_database(f"stolen-{os.getpid()}")
    monkeypatch.setenv("FIELDLOOP_STORES_METADATA", address)
    monkeypatch.setenv("FIELDLOOP_STORES_ARTEFACTS", str(tmp_path / "artefacts"))
    # It looks after nothing meanwhile: as a machine that was asleep.
    monkeypatch.setattr(run_lock, "LOOK_S", 3600.0)
    one, two = load_project(machine(tmp_path / "one")), load_project(machine(tmp_path / "two"))
    second: list[RunResult] = []

    def progress(event):
        if (event.step, event.phase) == ("train", "started") and not second:
            engine = create_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                query = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                assert connection.execute(text(query)).all()
            second.append(run_production(two, trigger="manual", reason="meanwhile"))

    with pytest.raises(BusyError, match="quality/1 became the champion; this run must be compared with it"):
        run_production(one, trigger="manual", reason="asleep", progress=progress)
    assert second[0].promoted
    assert open_registry(one).load("quality").version == 1
    resumed = run_production(one, trigger="", reason="", resume="last")
    assert resumed.decision.evidence.champion_version == 1


def test_a_store_that_is_away_for_good_ends_a_run_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "_TRIES", 2)
    monkeypatch.setattr(run_lock, "_TRY_S", 0.1)
    with postgres_server() as server:
        address = server.new_database("metadata")
        client = open_client(tmp_path, address)
        with taken(address, client, "quality", SystemClock()) as alone:
            alone.verify()
            server.stop()
            with pytest.raises(RegistryError, match="no production run without its lock") as told:
                alone.verify()
            assert "tulip" not in str(told.value)
