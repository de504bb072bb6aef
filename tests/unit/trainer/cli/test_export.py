import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.trainer.cli.projects import write_small_project
from trainer.cli.application import app
from trainer.pipeline.production import run_production
from trainer.project.loading import load_project


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one promoted version."""
    folder = write_small_project(tmp_path_factory.mktemp("project"))
    assert run_production(load_project(folder), trigger="manual", reason="a test").promoted
    return folder


@pytest.mark.parametrize("reference", ["champion", "1", "quality/1", "quality@champion"])
def test_a_version_of_the_registry_is_exported_again_in_other_forms(
    project: Path, reference: str, tmp_path: Path
) -> None:
    before = (load_project(project).state / "runs").rglob("*")
    sizes = {path: path.stat().st_size for path in before if path.is_file()}
    done = export(reference, "--project", project, "--to", "native", "--to", "tflite-fp32", "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [(variant["name"], variant["accepted"]) for variant in report["variants"]] == [
        ("native", True),
        ("tflite-fp32", True),
    ]
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert (manifest["name"], manifest["version"]) == ("quality", 1)
    assert [variant["file"] for variant in manifest["variants"]] == ["model.native", "model.fp32.tflite"]
    # What the registry holds is what it held.
    assert {path: path.stat().st_size for path in sizes} == sizes


def test_a_version_that_is_not_there_is_named_with_those_that_are(project: Path) -> None:
    done = export("quality/7", "--project", project)
    assert done.exit_code != 0
    assert "quality/7" in done.output
    assert "quality/1" in done.output


def test_a_version_of_a_project_that_has_other_features_now_is_refused(project: Path, tmp_path: Path) -> None:
    text = (project / "fieldloop.toml").read_text()
    other = tmp_path / "fieldloop.toml"
    state = load_project(project).state
    other.write_text(f'state = "{state}"\n' + text.replace('name = "vibration"', 'name = "speed"'))
    done = export("champion", "--project", tmp_path, "--out", tmp_path / "out")
    assert done.exit_code != 0
    assert "trained with pressure, vibration" in done.output


def test_what_is_no_file_and_no_version_is_told_as_both(tmp_path: Path) -> None:
    done = export("model.skops", "--project", tmp_path)
    assert done.exit_code != 0
    assert "model.skops: no such file" in done.output


def test_a_file_needs_rows(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    done = export(tmp_path / "model.onnx")
    assert done.exit_code != 0
    assert "--rows" in done.output
