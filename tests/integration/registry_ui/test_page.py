"""MLflow's own page, really installed and really asked; installed once, into the user's cache."""

import contextlib
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from tests.postgres import PASSWORD, PostgresServer
from tests.unit.trainer.cli.projects import write_small_project
from trainer.registry.registry import Registry
from trainer.registry.tracking import ensure_experiment, open_client

# The installation takes a minute or two, the server's start some 20 s.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_page_shows_the_models_of_a_project_and_ends_with_the_command(tmp_path: Path, free_port: int) -> None:
    project = write_small_project(tmp_path)
    verify_page(project, free_port, open_client(project / ".fieldloop"))


def test_it_shows_those_of_a_database_that_several_machines_share_and_tells_nobody_its_password(
    postgres: PostgresServer, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write_small_project(tmp_path)
    address = postgres.new_database("page")
    monkeypatch.setenv("FIELDLOOP_STORES_METADATA", address)
    verify_page(project, free_port, open_client(project / ".fieldloop", address))


def verify_page(project: Path, free_port: int, client: MlflowClient) -> None:
    state = project / ".fieldloop"
    run_id = client.create_run(ensure_experiment(client, "quality", state)).info.run_id
    Registry(state, client).register("quality", run_id=run_id, folder=state / "pipeline" / run_id, tags={})
    command = [sys.executable, "-m", "trainer.cli", "registry", "ui", "--project", str(project), "--yes"]
    process = subprocess.Popen(
        [*command, "--port", str(free_port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if "http://" in line), "")
        url = f"http://127.0.0.1:{free_port}"
        assert url in line
        with urllib.request.urlopen(url) as answer:
            page = answer.read().decode()
        assert "<title>MLflow</title>" in page
        with urllib.request.urlopen(url + "/ajax-api/2.0/mlflow/registered-models/search") as answer:  # noqa: S310
            models = json.loads(answer.read())
        assert [model["name"] for model in models["registered_models"]] == ["quality"]
        running = command_lines()
        assert b"mlflow" in running
        assert PASSWORD.encode() not in running
        assert quote(PASSWORD).encode() not in running
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url)


def command_lines() -> bytes:
    """Return those of all processes, as everyone on the machine may read them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # It may be gone by now.
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return b" ".join(found)
