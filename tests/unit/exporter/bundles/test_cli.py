"""``fieldloop bundle``: what it prints, and the code that it ends with."""

import hashlib
import json
import os
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from edge_agent.bundle import Attachment, encode_manifest, parse_manifest
from edge_agent.errors import BundleError
from exporter.bundles.sbom import make_sbom
from exporter.errors import BundlePlaceError, UnprovenError
from tests.bundles import Toy, make_bundle
from trainer.cli.application import app


def fieldloop(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with a bill of materials."""
    folder = make_bundle(tmp_path / "bundle", Toy(name="quality", version=3))
    attach_sbom(folder)
    return folder


def attach_sbom(folder: Path) -> None:
    manifest = parse_manifest((folder / "manifest.json").read_bytes())
    sbom = make_sbom(manifest, "LogisticRegression", ("scikit-learn",))
    (folder / "sbom.cdx.json").write_bytes(sbom)
    attached = Attachment("sbom.cdx.json", len(sbom), hashlib.sha256(sbom).hexdigest())
    write(folder, msgspec.structs.replace(manifest, sbom=attached))


def write(folder: Path, manifest: msgspec.Struct) -> None:
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))  # type: ignore[arg-type]


def rewrite(folder: Path, **changes: object) -> None:
    manifest = parse_manifest((folder / "manifest.json").read_bytes())
    write(folder, msgspec.structs.replace(manifest, **changes))


def test_a_bundle_is_packed_inspected_verified_compared_and_unpacked(bundle: Path, tmp_path: Path) -> None:
    packed = tmp_path / "quality-3.bundle"
    result = fieldloop("bundle", "pack", bundle, "-o", packed)
    assert result.exit_code == 0, result.output
    assert f"packed {packed}, {packed.stat().st_size} bytes" in result.output
    for path in (bundle, packed):
        result = fieldloop("bundle", "verify", path)
        assert result.exit_code == 0, result.output
        assert [line.split()[:2] for line in result.output.splitlines()] == [
            ["right", what] for what in ("form", "manifest", "files", "materials", "onnx-fp32")
        ]
    assert fieldloop("bundle", "unpack", packed, "-o", tmp_path / "out").output.startswith("unpacked quality/3 into ")
    result = fieldloop("bundle", "diff", tmp_path / "out", packed)
    assert (result.exit_code, result.output) == (0, "")


def test_inspect_tells_what_is_inside(bundle: Path) -> None:
    output = fieldloop("bundle", "inspect", bundle).output
    for told in (
        "quality/3  classification by accuracy",
        "8 golden rows",
        "labels       low, high",
        "features     a  float32",
        "onnx-fp32  onnx: model.onnx",
        "4 bins × 1 blocks",
        "created_utc: 2026-11-01T00:00:00Z",
        "scikit-learn",
    ):
        assert told in output
    description = json.loads(fieldloop("bundle", "inspect", bundle, "--json").output)
    assert [feature["name"] for feature in description["features"]] == ["a", "b", "c"]
    assert description["variants"][0]["tolerance"] == 1e-4
    assert {"name": "onnxruntime", "scope": "optional"}.items() <= description["libraries"][3].items()


def test_inspect_tells_that_there_is_no_bill_of_materials(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    assert "no bill of materials" in fieldloop("bundle", "inspect", folder).output
    assert json.loads(fieldloop("bundle", "inspect", folder, "--json").output)["libraries"] is None


def test_a_label_can_do_nothing_to_a_terminal(bundle: Path, tmp_path: Path) -> None:
    rewrite(bundle, labels=("\x1b[2Jlow\r", "\u202ehigh\n"), sbom=None)
    outputs = [fieldloop("bundle", "inspect", bundle).output]
    outputs += [fieldloop("bundle", "diff", make_bundle(tmp_path / "plain"), bundle).output]
    for output in outputs:
        assert "\\x1b[2Jlow\\r" in output
        assert not {"\x1b", "\r", "\u202e"} & set(output)


def test_verify_names_what_is_wrong_and_ends_with_its_code(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"no model")
    result = fieldloop("bundle", "verify", bundle)
    assert result.exit_code == BundleError.exit_code
    assert "wrong     files" in result.output
    assert "fieldloop: quality/3: files: " in result.stderr


def test_verify_names_wrong_answers(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", golden_error=0.3)
    result = fieldloop("bundle", "verify", folder, "--json")
    assert result.exit_code == BundleError.exit_code
    checks = {check["what"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["onnx-fp32"]["verdict"] == "wrong"
    assert "8 of 8 golden rows differ" in checks["onnx-fp32"]["detail"]


def test_verify_names_a_bill_of_materials_of_another_model(bundle: Path) -> None:
    rewrite(bundle, name="other")
    result = fieldloop("bundle", "verify", bundle)
    assert result.exit_code == BundleError.exit_code
    assert "wrong     materials" in result.output


def test_verify_does_not_pass_over_a_runtime_that_is_missing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "onnxruntime.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'hidden'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    result = fieldloop("bundle", "verify", bundle)
    assert result.exit_code == UnprovenError.exit_code
    assert "unproven  onnx-fp32" in result.output
    assert "onnx-fp32 could not be proved here" in result.stderr


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_what_is_no_bundle_is_told(tmp_path: Path, command: str) -> None:
    (tmp_path / "x.bundle").write_bytes(b"PK")
    result = fieldloop("bundle", command, tmp_path / "x.bundle")
    assert result.exit_code == BundleError.exit_code
    assert "does not end as a packed bundle does" in result.stderr


def test_diff_ends_with_one_where_something_differs(bundle: Path, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", Toy(name="quality", version=4))
    result = fieldloop("bundle", "diff", bundle, other)
    assert result.exit_code == 1
    assert "version: 3 → 4" in result.output
    assert "variants.onnx-fp32.sha256" in result.output
    assert "materials: listed → –" in result.output
    differences = json.loads(fieldloop("bundle", "diff", bundle, other, "--json").output)
    assert {"part": "version", "before": "3", "after": "4"} in differences


def test_diff_of_what_is_no_bundle_is_no_difference(bundle: Path, tmp_path: Path) -> None:
    assert fieldloop("bundle", "diff", bundle, tmp_path).exit_code == BundleError.exit_code


def test_a_place_that_is_taken_has_a_code_of_its_own(bundle: Path, tmp_path: Path) -> None:
    packed = tmp_path / "x.bundle"
    assert fieldloop("bundle", "pack", bundle, "--out", packed).exit_code == 0
    assert fieldloop("bundle", "unpack", packed, "--out", bundle).exit_code == BundlePlaceError.exit_code
