"""A cluster that a project names, where Dask is not installed: told before anything is done."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_agent.clock import SystemClock
from tests.unit.trainer.cli.projects import write_small_project
from trainer.cli.application import app
from trainer.cluster.opening import opened_crew, verify_installed
from trainer.errors import MissingProgramError
from trainer.project.cluster import ClusterSection

ADDRESS = "tcp://127.0.0.1:9"
TOLD = r"a cluster needs the package '(dask|distributed)' here too: pip install 'fieldloop\[dask\]'"


@pytest.fixture(params=["dask", "distributed"])
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    package: str = request.param
    monkeypatch.setitem(sys.modules, package, None)
    return package


def test_what_is_missing_is_named_with_the_line_that_installs_it(missing: str) -> None:
    cluster = ClusterSection(dask=ADDRESS)
    for attempt in (
        lambda: verify_installed(cluster),
        lambda: opened_crew(cluster, _no_kit, b"", clock=SystemClock(), packages=()),
    ):
        with pytest.raises(MissingProgramError, match=TOLD) as refusal:
            attempt()
        assert repr(missing) in str(refusal.value)


def _no_kit(_: bytes) -> "nullcontext[Any]":
    return nullcontext()


@pytest.mark.usefixtures("missing")
def test_who_names_no_cluster_needs_no_dask() -> None:
    verify_installed(ClusterSection())


@pytest.mark.usefixtures("missing")
@pytest.mark.parametrize("command", [("pipeline", "run"), ("experiment",)])
def test_no_step_is_carried_out_for_a_cluster_that_cannot_be_reached(command: tuple[str, ...], tmp_path: Path) -> None:
    project = write_small_project(tmp_path)
    result = CliRunner().invoke(app, [*command, "--project", str(project), "--dask", ADDRESS])
    assert result.exit_code == MissingProgramError.exit_code
    assert "fieldloop[dask]" in result.output
    assert not list((project / ".fieldloop").glob("*/*"))
