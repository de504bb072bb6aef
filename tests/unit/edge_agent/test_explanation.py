"""``fieldloop-agent explain`` says what the device does, of the bundle that runs and of any other."""

import json
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.errors import BundleError
from edge_agent.explanation import as_text, explain, load_manifest
from edge_agent.scoring.selection import Device
from tests.bundles import make_bundle
from tests.unit.edge_agent.test_settings import GOOD
from tests.unit.edge_agent.update.simulators import Device as SimulatedDevice
from tests.unit.edge_agent.update.simulators import Stagings


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundles" / "v1")


def settings_in(folder: Path) -> Path:
    path = folder / "agent.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def test_the_bundle_that_runs_is_explained(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]):
    device = SimulatedDevice(tmp_path / "state", Stagings(bundle.parent))
    device.update(1, "one")
    assert main(["explain", "--settings", str(settings_in(tmp_path)), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["bundle"], found["chosen"], found["running"]) == ("toy/1", "onnx-fp32", "onnx-fp32")
    (verdict,) = found["variants"]
    assert verdict["can_run"]
    assert verdict["reason"].startswith("the only one as good as the best")


def test_before_the_first_bundle_it_says_how_to_name_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["explain", "--settings", str(settings_in(tmp_path))]) == BundleError.exit_code
    assert "no bundle runs yet; name a bundle" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "manifest.json"])
def test_a_bundle_is_explained_without_settings(
    name: str, bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(bundle)
    assert main(["explain", str(bundle / name)]) == 0
    assert capsys.readouterr().out.count("chosen     onnx-fp32  the only one as good as the best") == 1


def test_a_bundle_that_no_runtime_here_can_run_is_told_with_the_errors_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_agent.scoring.device.installed_runtimes", lambda: ())
    assert main(["explain", str(make_bundle(tmp_path / "bundle"))]) == BundleError.exit_code
    told = capsys.readouterr().out
    assert "none: no variant can run here" in told
    assert "runtime onnx is not installed" in told


def test_a_bundle_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(BundleError, match="cannot be read"):
        load_manifest(tmp_path / "manifest.json")


def test_what_runs_is_named_beside_what_the_rule_chooses_now(bundle: Path):
    device = Device("aarch64", ("onnx",))
    assert "running    native, as chosen when" in as_text(explain(load_manifest(bundle), device, (), "native"))
