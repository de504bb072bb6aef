"""The three kinds of metadata store, real: a file, a PostgreSQL server, an MLflow server."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from trainer.cli.page_environment import page_environment
from trainer.cli.registry_page import start_page


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run a real MLflow server that keeps artefacts itself, and give its address."""
    environment = page_environment(os.environ)
    if not environment.is_complete:
        environment.make(Path(sys.executable))
    artefacts = folder / "artefacts"
    artefacts.mkdir(parents=True)
    page = start_page(
        environment.python, f"sqlite:///{folder / 'server.db'}", artefacts, folder / "server.log", serves_artefacts=True
    )
    try:
        page.wait_until_ready(SystemClock())
        yield page.url
    finally:
        page.stop()


@pytest.fixture(scope="module")
def server_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server that a file's tests share."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow-server")) as address:
        yield address
