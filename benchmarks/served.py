"""Prediction services as processes of their own, to be measured: ours, a bare echo, MLServer with the same model."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import REPOSITORY
from tests.ports import free_port
from tests.waiting import wait_until

_LISTENS_S: Final = 120


@contextmanager
def our_module(module: str, *arguments: object) -> Iterator[int]:
    """Run a module of this environment, whose last argument is the port, until the context ends; give the port."""
    port = free_port()
    command = [sys.executable, "-P", "-m", module, *map(str, arguments), str(port)]
    with _running(command, port, module, os.environ) as listening:
        yield listening


def mlserver_program() -> Path:
    """Return MLServer's program in the environment that `make bench-trainer` prepares; skip where there is none."""
    named = os.environ.get("FIELDLOOP_MLSERVER_PYTHON")
    python = Path(named) if named else REPOSITORY / ".venv-mlserver" / "bin" / "python"
    program = python.parent / "mlserver"
    if not program.exists():
        pytest.skip("no environment with MLServer; `make bench-trainer` prepares it")
    return program


@contextmanager
def mlserver(program: Path, folder: Path, model: Path) -> Iterator[int]:
    """Run MLServer with an ONNX file as model ``toy`` until the context ends; give the port of its REST interface."""
    port = free_port()
    folder.mkdir()
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        # Everything that it does not need for an answer is off: in this process, no metrics, no cache.
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "cache_enabled": False,
    }
    about = {
        "name": "toy",
        "implementation": "benchmarks.mlserver_runtime.OnnxRows",
        "parameters": {"uri": str(model)},
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(about), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with _running([str(program), "start", str(folder)], port, "MLServer", environment) as listening:
        yield listening


@contextmanager
def _running(command: list[str], port: int, what: str, environment: Mapping[str, str]) -> Iterator[int]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, env=dict(environment)) as process:
        try:
            wait_until(lambda: _takes_connections(port), _LISTENS_S, f"{what} listens")
            yield port
        finally:
            process.kill()


def _takes_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
