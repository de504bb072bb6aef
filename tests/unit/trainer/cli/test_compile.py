import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.trainer.cli.projects import write_small_project
from trainer.cli.application import app
from trainer.errors import MissingProgramError
from trainer.pipeline.kubeflow.environment import kfp_version, kubeflow_environment
from trainer.pipeline.kubeflow.package import plan_package


def compiled(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["pipeline", "compile", *map(str, arguments)])


def test_the_sdk_is_not_installed_unasked_where_nobody_can_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    project = write_small_project(tmp_path)
    command = [sys.executable, "-m", "trainer.cli", "pipeline", "compile", str(project), "--image", "fieldloop:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == MissingProgramError.exit_code
    assert "fieldloop pipeline compile --yes" in done.stderr
    assert "MB" in done.stderr
    assert not list((tmp_path / "cache").glob("fieldloop/kubeflow-*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--image", "two words"), "name an image"),
        (("--image", "i:1", "--volume", "claim"), "CLAIM:PATH"),
        (("--image", "i:1", "--volume", "Claim:/data"), "a claim's name"),
        (("--image", "i:1", "--volume", "claim:data"), "begins with /"),
        (("--image", "i:1", "--folder", "data"), "begins with /"),
        (("--image", "i:1", "--secret", "stores"), "SECRET:KEY"),
        (("--image", "i:1", "--secret", "stores:"), "SECRET:KEY"),
        (("--image", "i:1", "--secret", "stores:key="), "SECRET:KEY"),
        (("--image", "i:1", "--secret", "Stores:KEY"), "a secret's name"),
        (("--image", "i:1", "--secret", "stores:a key"), "a secret's name"),
        (("--image", "i:1", "--secret", "stores:metadata.uri"), "a variable has letters"),
        (("--image", "i:1", "--secret", "a:KEY", "--secret", "b:x=KEY"), "KEY is given twice"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_installed(
    options: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    refused = compiled(write_small_project(tmp_path), *options)
    assert refused.exit_code == 2
    assert words in refused.stderr


def test_a_package_is_planned_as_our_own_graph() -> None:
    plan = plan_package("my_pump", image="i:1", project="/data", volumes=(("claim", "/data"),), out=Path("x.yaml"))
    assert plan.name == "fieldloop-my-pump"
    after = {step.name: step.after for step in plan.steps}
    assert list(after) == [
        *("extract", "validate", "prepare", "train", "evaluate", "register", "export", "gate", "promote"),
    ]
    assert after["extract"] == ()
    assert after["gate"] == ("evaluate", "export")
    assert "def carry_out(" in plan.task


def test_another_python_has_another_environment_and_the_version_is_the_pinned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"XDG_CACHE_HOME": str(tmp_path)}
    before = kubeflow_environment(variables)
    monkeypatch.setattr(sys, "version", "another")
    assert kubeflow_environment(variables).folder != before.folder
    assert f"kfp=={kfp_version()} " in before.requirements.read_text(encoding="utf-8")
