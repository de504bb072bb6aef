import csv
import json
import subprocess
import sys

import pytest
import skops.io
from typer.testing import CliRunner

from edge_agent.bundle import parse_manifest
from edge_agent.clock import SystemClock
from exporter.cli import app
from exporter.repository import publish_bundle
from tests.unit.exporter.families import learn


@pytest.fixture
def files(tmp_path):
    learnt = learn("logistic", "cancer")
    skops.io.dump(learnt.model.estimator, tmp_path / "model.skops")
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f.name for f in learnt.model.features), "truth"])
        writer.writerows([*row, truth] for row, truth in zip(learnt.evaluation.tolist(), learnt.truth, strict=True))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def lines_of(files):
    return (files / "rows.csv").read_text().splitlines()


def export(files, *more):
    return run(
        "export",
        files / "model.skops",
        "--rows",
        files / "rows.csv",
        "--target",
        "truth",
        "--out",
        files / "out",
        *more,
    )


def test_a_model_file_becomes_a_published_bundle(files):
    place = ["--repository", files / "repository"]
    keys = ["--keys", files / "keys"]
    result = export(files, "--name", "tumour", "--version", "4", "--max-parity-loss", "0.03")
    assert result.exit_code == 0, result.output
    assert "tflite-int8" in result.output
    assert run("repository", "init", *place, *keys).exit_code == 0
    publish_bundle(files / "out" / "bundle", files / "repository", files / "keys", clock=SystemClock())
    assert run("repository", "list", *place).output == "tumour/4\n"
    assert run("repository", "refresh", *place, *keys).output == "signed anew: timestamp\n"
    assert run("repository", "unlist", "tumour/4", *place, *keys).exit_code == 0
    assert run("repository", "list", *place).output == ""


def test_the_report_is_json_for_machines(files):
    result = export(files, "--to", "onnx-fp32", "--json")
    report = json.loads(result.stdout)
    assert [v["name"] for v in report["variants"]] == ["onnx-fp32"]
    assert json.loads((files / "out" / "report.json").read_text()) == report
    assert parse_manifest((files / "out" / "bundle" / "manifest.json").read_bytes()).lineage.data_sha256


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda f: (f / "model.skops").write_bytes(b"no"), 2, "of no known format"),
        (lambda f: (f / "rows.csv").write_text("a,truth\n" + "1,0\n" * 60), 3, "the model takes 30"),
        (lambda f: (f / "rows.csv").write_text("\n".join(lines_of(f)[:20])), 3, "at least 50"),
    ],
)
def test_an_error_is_told_and_has_its_exit_code(files, change, code, message):
    change(files)
    result = export(files)
    assert result.exit_code == code
    assert message in result.output


def test_a_bad_reference_is_a_wrong_use(files):
    result = run("repository", "unlist", "tumour", "--repository", files, "--keys", files)
    assert result.exit_code == 2


def test_help_needs_no_heavy_library():
    program = (
        "import sys; import exporter.cli; print([m for m in ('numpy', 'sklearn', 'onnx', 'tuf') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
