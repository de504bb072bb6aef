import csv
import json
import subprocess
import sys
from datetime import timedelta
from functools import partial

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from edge_agent.bundle import parse_manifest
from edge_agent.clock import SystemClock
from exporter.cli import app
from exporter.repository.lifetimes import Lifetimes
from exporter.repository.refresh import refresh_timestamp
from exporter.repository.repository import publish_bundle
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


def test_a_c_array_stands_beside_the_variants(files):
    result = export(files, "--to", "tflite-int8", "--max-parity-loss", "0.03", "--c-array")
    assert result.exit_code == 0, result.output
    header = files / "out" / "variants" / "model.int8.tflite.h"
    assert f"unsigned char model_int8_tflite[{header.with_suffix('').stat().st_size}]" in header.read_text()


def test_a_c_array_of_a_variant_that_nobody_asked_for_is_an_error(files):
    result = export(files, "--to", "tflite-fp32", "--max-parity-loss", "0.03", "--c-array")
    assert result.exit_code == 4
    assert "add --to tflite-int8" in result.output


def test_the_report_is_json_for_machines(files):
    result = export(files, "--to", "onnx-fp32", "--json")
    report = json.loads(result.stdout)
    assert [v["name"] for v in report["variants"]] == ["onnx-fp32"]
    assert json.loads((files / "out" / "report.json").read_text()) == report
    assert parse_manifest((files / "out" / "bundle" / "manifest.json").read_bytes()).lineage.data_sha256


def test_a_model_without_a_truth_is_judged_by_agreement(tmp_path):
    learnt = learn("logistic", "cancer")
    clustering = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(learnt.training)
    joblib.dump(clustering, tmp_path / "model.joblib")
    np.savetxt(tmp_path / "rows.csv", learnt.evaluation, "%.9g", ",", header=",".join(map(str, range(30))), comments="")
    export = ("export", tmp_path / "model.joblib", "--rows", tmp_path / "rows.csv", "--to", "onnx-fp32")
    refused = run(*export, "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert "--trust-pickle" in refused.output
    result = run(*export, "--out", tmp_path / "out", "--trust-pickle")
    assert result.exit_code == 0, result.output
    manifest = parse_manifest((tmp_path / "out" / "bundle" / "manifest.json").read_bytes())
    assert (manifest.metric, manifest.labels) == ("agreement", ("cluster_0", "cluster_1", "cluster_2"))


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


@pytest.fixture
def places(tmp_path):
    """Options that name a repository and its keys; both are made, with two of three root keys to sign a root."""
    options = ["--repository", tmp_path / "repository", "--keys", tmp_path / "keys"]
    made = run("repository", "init", *options, "--root-keys", "3", "--root-threshold", "2")
    assert made.exit_code == 0, made.output
    assert f"carry {tmp_path / 'keys' / 'root'} away" in made.output
    return options


def test_status_tells_people_and_machines_and_its_exit_code_tells_of_an_end_that_is_near(places):
    result = run("repository", "status", *places[:2])
    assert result.exit_code == 0, result.output
    assert "root+3" in result.output
    facts = json.loads(run("repository", "status", *places[:2], "--json").stdout)
    assert [fact["threshold"] for fact in facts] == [2, 1, 1, 1]
    assert run("repository", "status", *places[:2], "--within-days", "2").exit_code == 10
    assert run("repository", "status", "--repository", places[1] / "none").exit_code == 7


def test_a_model_is_delegated_and_its_keys_are_rotated(places):
    made = run("repository", "delegate", "rain", *places, "--model-keys", "2", "--model-threshold", "2")
    assert made.output == "made model-rain: 2 of 2 keys list the bundles of rain\n"
    rotated = run("repository", "rotate-key", "model-rain", *places, "--key", "model-rain+2")
    assert rotated.exit_code == 0, rotated.output
    assert "model-rain is now signed with model-rain+3" in rotated.output
    assert "worth nothing any more" in rotated.output


def test_keys_of_the_root_that_are_away_are_named_with_what_they_must_do(places, tmp_path):
    (tmp_path / "keys" / "root").rename(tmp_path / "vault")
    result = run("repository", "rotate-key", "timestamp", *places)
    assert result.exit_code == 6
    assert "2 more needed" in result.output
    assert "root+2" in result.output
    there = run("repository", "rotate-key", "timestamp", *places, "--root-keys-folder", tmp_path / "vault")
    assert there.exit_code == 0, there.output


def test_root_keys_are_encrypted_and_then_want_their_passphrase(places, tmp_path):
    passphrase, vault = tmp_path / "passphrase", tmp_path / "keys" / "root"
    passphrase.write_text("correct horse battery\n")
    passphrase.chmod(0o644)
    encrypt = ("repository", "root", "encrypt", "--root-keys-folder", vault, "--passphrase-file", passphrase)
    refused = run(*encrypt)
    assert refused.exit_code == 6
    assert "others can read or write this passphrase" in refused.output
    passphrase.chmod(0o600)
    assert run(*encrypt).output.count("destroy other copies") == 3
    assert run(*encrypt).output == "all keys there are encrypted already\n"
    renew = ("repository", "root", "renew", *places, "--root-keys-folder", vault)
    refused = run(*renew)
    assert refused.exit_code == 6
    assert "give --passphrase-file" in refused.output
    renewed = run(*renew, "--passphrase-file", passphrase)
    assert renewed.output == "signed the root anew\n"
    prepared = tmp_path / "next.json"
    run("repository", "root", "prepare", prepared, "--repository", places[1])
    sign = ("repository", "root", "sign", prepared, "--repository", places[1], "--root-keys-folder", vault)
    signed = run(*sign, "--passphrase-file", passphrase)
    assert "signed by root" in signed.output
    rotated = run("repository", "rotate-key", "root", *places, "--passphrase-file", passphrase)
    assert rotated.exit_code == 0, rotated.output


def test_root_keys_are_encrypted_from_the_beginning_where_a_passphrase_is_given(tmp_path):
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("correct horse battery\n")
    places = ("--repository", tmp_path / "repository", "--keys", tmp_path / "keys")
    assert run("repository", "init", *places, "--passphrase-file", passphrase).exit_code == 0
    assert b"ENCRYPTED" in (tmp_path / "keys" / "root" / "root.pem").read_bytes()
    made = run(
        "repository", "root", "new-key", "carla", "--root-keys-folder", tmp_path, "--passphrase-file", passphrase
    )
    assert made.exit_code == 0
    assert b"ENCRYPTED" in (tmp_path / "carla.pem").read_bytes()


def test_a_refresh_warns_of_what_waits_for_keys_elsewhere(places, tmp_path, monkeypatch):
    (tmp_path / "keys" / "root").rename(tmp_path / "vault")
    long = Lifetimes(root=timedelta(days=3000))
    monkeypatch.setattr("exporter.repository.refresh.refresh_timestamp", partial(refresh_timestamp, lifetimes=long))
    result = run("repository", "refresh", *places)
    assert result.exit_code == 0
    assert result.stdout == "signed anew: timestamp\n"
    assert "warning: root expires at " in result.stderr
    assert "fieldloop repository root renew" in result.stderr


def test_a_root_goes_from_hand_to_hand(places, tmp_path):
    vaults = [tmp_path / "anna", tmp_path / "ben"]
    for vault, key in zip(vaults, ("root.pem", "root+2.pem"), strict=True):
        vault.mkdir()
        (tmp_path / "keys" / "root" / key).rename(vault / key)
    repository, prepared = places[:2], tmp_path / "next-root.json"
    made = run("repository", "root", "new-key", "carla", "--root-keys-folder", tmp_path / "carla")
    assert f"hand over {tmp_path / 'carla' / 'carla.pub'}" in made.output
    changes = ["--add-key", tmp_path / "carla" / "carla.pub", "--remove-key", "root+3", "--rotate", "timestamp"]
    result = run("repository", "root", "prepare", prepared, *places, *changes)
    assert result.exit_code == 0, result.output
    assert "root: 2 of root (" in result.output
    assert "carla (" in result.output
    first = run("repository", "root", "sign", prepared, *repository, "--root-keys-folder", vaults[0])
    assert "1 more needed, of " in first.output
    assert run("repository", "root", "finish", prepared, *places).exit_code == 6
    assert (
        "root finish"
        in run("repository", "root", "sign", prepared, *repository, "--root-keys-folder", vaults[1]).output
    )
    assert "root 2 is the newest" in run("repository", "root", "finish", prepared, *places).output
    folders = [option for vault in (vaults[0], tmp_path / "carla") for option in ("--root-keys-folder", vault)]
    renewed = run("repository", "root", "renew", *places, *folders)
    assert renewed.exit_code == 0, renewed.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("new-key", "../x", "--root-keys-folder", "k"),
        ("prepare", "next.json", "--repository", "r", "--rotate", "timestamp"),
    ],
)
def test_what_the_root_cannot_be_asked_is_a_wrong_use(arguments):
    assert run("repository", "root", *arguments).exit_code == 2
