"""Shows that import-linter's contracts are not vacuous: each import below must break the contract named beside it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("trainer", "exporter", "edge_agent", "broker")


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    """A copy of the four packages and the contracts."""
    for package in PACKAGES:
        shutil.copytree(repository / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "pyproject.toml", tmp_path)
    # A module of the wire that is not for the device, without imports of its own.
    (tmp_path / "broker" / "asyncapi.py").write_text('"""The wire described."""\n')
    return tmp_path


def lint(checkout: Path, contract: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-logo", "--no-cache", "--contract", contract],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("contract", "importer", "imported"),
    [
        ("floors", "broker.topics", "edge_agent.clock"),
        ("floors", "edge_agent.clock", "exporter"),
        ("floors", "exporter", "trainer.errors"),
        ("trainer", "trainer.errors", "trainer.project"),
        ("broker", "broker.topics", "broker.messages"),
        ("agent", "edge_agent.clock", "edge_agent.bundle"),
        ("device", "edge_agent.clock", "sklearn"),
        ("device", "edge_agent.scoring.runtime", "pandas"),
        ("device", "edge_agent.sensing.mqtt_link", "paho"),
        ("device-wire", "edge_agent.clock", "broker.asyncapi"),
        ("wire-contract", "broker.messages", "socket"),
        ("wire-contract", "broker.topics", "paho"),
        ("exporter", "exporter", "mlflow"),
        ("exporter", "exporter", "broker.topics"),
    ],
)
def test_an_import_that_climbs_or_trespasses_breaks_its_contract(
    checkout: Path, contract: str, importer: str, imported: str
) -> None:
    path = checkout.joinpath(*importer.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    with file.open("a") as text:
        text.write(f"\nimport {imported}\n")
    run = lint(checkout, contract)
    assert run.returncode == 1, run.stdout + run.stderr
    assert f"{importer} -> {imported}" in run.stdout


@pytest.mark.parametrize(
    ("package", "contract"), [("trainer", "trainer"), ("edge_agent", "agent"), ("broker", "broker")]
)
def test_a_new_module_must_choose_its_layer(checkout: Path, package: str, contract: str) -> None:
    (checkout / package / "stray.py").write_text('"""A module without a layer."""\n')
    run = lint(checkout, contract)
    assert run.returncode == 1, run.stdout + run.stderr
    assert f"{package}.stray" in run.stdout
