"""A project whose registry has two versions of one model, and ``fieldloop serve`` as a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bundles import FEATURES, make_bundle
from tests.conftest import REPOSITORY
from tests.serving import Running, Shelf
from trainer.project.loading import load_project
from trainer.registry.registry import Registry
from trainer.registry.tracking import ensure_experiment, open_client

_PROJECT = """\
name = "toy"
fleet = "plant"

[data]
path = ["rows.csv"]

[target]
column = "level"
task = "classification"
labels = ["low", "high"]
"""


@dataclass
class Shop:
    """A project with versions 1 and 2 of the model ``toy``; 1 is champion at first."""

    folder: Path
    registry: Registry


@pytest.fixture(scope="package")
def shop(tmp_path_factory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    features = "".join(f'\n[[features]]\nname = "{name}"\n' for name in FEATURES)
    (folder / "fieldloop.toml").write_text(_PROJECT + features, encoding="utf-8")
    state = load_project(folder).state
    client = open_client(state)
    registry = Registry(state, client)
    experiment = ensure_experiment(client, "toy", state)
    for version in (1, 2):
        run = state / "runs" / str(version)
        make_bundle(run / "export" / "bundle", version=version)
        run_id = client.create_run(experiment).info.run_id
        assert registry.register("toy", run_id=run_id, folder=run, tags={}) == version
    registry.promote("toy", 1)
    return Shop(folder, registry)


@contextmanager
def serving(*arguments: str | Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run ``fieldloop serve`` on a free port until the context ends."""
    command = [sys.executable, "-P", "-m", "trainer.cli", "serve", *map(str, arguments), "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            found = re.search(r"at http://127\.0\.0\.1:(\d+)/v2", told)
            assert found, f"{told}{process.stderr.read() if process.stderr else ''}"
            yield process, int(found[1])
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()


def client_of(port: int) -> Running:
    """Return who asks a service in another process."""
    return Running(None, port, Shelf(Path()))  # type: ignore[arg-type]  # it cannot be looked into
