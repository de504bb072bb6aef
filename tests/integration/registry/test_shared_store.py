"""Two machines, one metadata store: what one has trained the other one fetches, exports and compares with."""

import os
from pathlib import Path

import pytest

from exporter.models.model_file import load_estimator
from tests.integration.registry.stores import server_address
from tests.postgres import PASSWORD, PostgresServer
from tests.unit.trainer.cli.projects import write_small_project
from trainer.errors import RegistryError
from trainer.pipeline.production import run_production
from trainer.pipeline.reexporting import export_version
from trainer.project.loading import load_project
from trainer.registry.files import INDEX_NAME, sha256_of
from trainer.registry.registry import Registry, open_registry
from trainer.registry.tracking import open_client, store_address

__all__ = ["server_address"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("kind", ["postgres", "server"])
def test_what_one_machine_trained_another_one_works_with(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "postgres":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        monkeypatch.setenv("FIELDLOOP_STORES_METADATA", postgres.new_database(f"shared-{os.getpid()}"))
        monkeypatch.setenv("FIELDLOOP_STORES_ARTEFACTS", str(tmp_path / "shared-folder"))
    else:
        monkeypatch.setenv("FIELDLOOP_STORES_METADATA", request.getfixturevalue("server_address"))
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        write_small_project(folder)
    first = run_production(load_project(one), trigger="manual", reason="the first")
    assert first.promoted
    made = (one / ".fieldloop" / "pipeline" / first.run_id / "train" / "model.skops").read_bytes()
    # The machine that trained is away.
    one.rename(tmp_path / "away")

    loaded = load_project(two)
    champion = open_registry(loaded).load("quality")
    assert champion.model_file.read_bytes() == made
    load_estimator(champion.model_file)
    assert champion.model_file.is_relative_to(two)
    assert {"manifest.json"} < {path.name for path in champion.bundle.iterdir()}
    kept = {file.path for file in champion.files.listed()}
    for path in ("prepare/splits.npz", "validate/anomalies.json", "validate/statistics.json", "gate/decision.json"):
        assert path in kept
    exported = export_version(loaded, champion, (), tmp_path / "again")
    assert exported.bundle is not None

    second = run_production(loaded, trigger="manual", reason="the second")
    assert second.decision.evidence.champion_version == 1
    assert second.decision.evidence.compared_rows > 0
    if kind == "postgres":
        assert PASSWORD not in repr(loaded)
        written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(secret in text for text in written for secret in (PASSWORD.encode(), b"tulip%407"))


def test_a_file_that_was_changed_in_the_store_is_not_given_out(
    server_address: str,
    tmp_path: Path,
) -> None:
    client = open_client(tmp_path, server_address)
    experiment = client.create_experiment("changed")
    run_id = client.create_run(experiment).info.run_id
    (tmp_path / "run" / "train").mkdir(parents=True)
    model = tmp_path / "run" / "train" / "model.skops"
    model.write_bytes(b"the model")
    registry = Registry(tmp_path / "state", client)
    registry.keep(run_id, tmp_path / "run", [model])
    registry.register("changed", run_id=run_id, folder=tmp_path / "run", tags={})
    digest = sha256_of(model)
    model.write_bytes(b"another one")
    client.log_artifact(run_id, str(model), "train")
    model.unlink()
    with pytest.raises(RegistryError, match="its hash differs"):
        _ = registry.load("changed", version=1).model_file
    model.write_bytes(b"the model")
    client.log_artifact(run_id, str(model), "train")
    model.unlink()
    fetched = registry.load("changed", version=1).model_file
    assert sha256_of(fetched) == digest
    # From now on without the store: its name alone is asked for.
    client.log_text(run_id, "{}", INDEX_NAME)
    assert fetched.read_bytes() == b"the model"


def test_a_store_that_is_not_there_is_told_without_its_password(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = postgres.address("nobody-made-this")
    monkeypatch.setenv("FIELDLOOP_STORES_METADATA", address)
    # Its patience is minutes: a server may be starting.
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    loaded = load_project(write_small_project(tmp_path))
    with pytest.raises(RegistryError) as refusal:
        open_client(tmp_path, store_address(loaded)).search_experiments()
    assert "nobody-made-this" in str(refusal.value)
    assert PASSWORD not in str(refusal.value)
    assert "tulip%407" not in str(refusal.value)
