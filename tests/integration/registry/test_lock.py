"""Promotions at once, from two processes, in each kind of store: none is lost."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.registry.stores import server_address
from trainer.project.registry import CHAMPION, PREVIOUS
from trainer.registry.registry import Registry
from trainer.registry.tracking import ensure_experiment, open_client

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

__all__ = ["server_address"]

# The MLflow server takes some 20 s to start; a promotion is some ten requests to it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
_TIMES: Final = 25
_PROGRAM: Final = Path(__file__).with_name("promotes.py")


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "server"])
def test_two_processes_promote_at_once_and_no_version_is_lost(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    if kind == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        address = server.new_database(f"promotions-{os.getpid()}")
    elif kind == "server":
        address = request.getfixturevalue("server_address")
    client = open_client(tmp_path, address)
    experiment = ensure_experiment(client, "quality", tmp_path)
    registry = Registry(tmp_path, client)
    for _ in range(4):
        run_id = client.create_run(experiment).info.run_id
        registry.register("quality", run_id=run_id, folder=tmp_path, tags={"gate": "passed"})
    mine = [["1", "2"], ["3", "4"]]
    processes = [
        subprocess.Popen(
            [sys.executable, str(_PROGRAM), address, str(tmp_path), "quality", *(pair * _TIMES)[:_TIMES]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for pair in mine
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(800) for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    history = registry.promotions("quality")
    # Each wants a version that the other one never promotes: every promotion changes the champion.
    assert [promotion.number for promotion in history] == list(range(1, 2 * _TIMES + 1))
    assert history[0].before == 0
    for earlier, later in itertools.pairwise(history):
        assert later.before == earlier.version
    assert registry.load("quality", alias=CHAMPION).version == history[-1].version
    assert registry.load("quality", alias=PREVIOUS).version == history[-1].before
    # They did meet: nobody waited for the other one to be through.
    assert len({promotion.by for promotion in history[: 2 * _TIMES - 5]}) == 2
