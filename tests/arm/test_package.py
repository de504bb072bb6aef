"""On the processors of boards the agent's package installs, scores, upgrades with state and settings, and purges."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from broker.messages import BundleRef
from edge_agent.bundle import MANIFEST_NAME, encode_manifest
from edge_agent.clock import SystemClock
from exporter.proof.debian_root import RECIPES, Architecture
from exporter.proof.emulated import roots_folder
from exporter.repository.carrying import export_update
from exporter.repository.repository import init_repository, publish_bundle
from tests.debian_machine import BARE, Root, base_archive
from tests.integration.deb.conftest import BuildPackage
from tests.unit.edge_agent.examples import classification_manifest, variant_of, write_native_classifier
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
_N_ROWS, _N_MORE = 200, 100
_SCORES_WITHIN_S: Final = 300
_AS_ITS_USER: Final = ("setpriv", "--reuid=fieldloop", "--regid=fieldloop", "--init-groups")
_SETTINGS: Final = "/etc/fieldloop/agent.toml"
_ANSWERS: Final = "var/lib/fieldloop/answers.jsonl"
# Nobody listens at the broker's port: what is scored waits in the spool.
_TOML: Final = """
device = "one"
fleet = "test"
state = "/var/lib/fieldloop"
[broker]
port = 1
[repository]
url = "http://127.0.0.1:1"
root = "root.json"
model = "rain"
spare_disk_bytes = 0
[source]
kind = "csv"
path = "rows.csv"
[sink]
kind = "json_lines"
path = "/var/lib/fieldloop/answers.jsonl"
[telemetry]
max_window_s = 1.0
"""


@dataclass(frozen=True, slots=True)
class Life:
    """What a root told of a package's life in it.

    Attributes:
        machine: its processor.
        versions: of the agent, before and after the upgrade.
        installed: the answer to an update file.
        answered: numbers of the rows in its sink, in their order: before the upgrade, and at the end.
        statuses: before and after the upgrade.
        settings: after the upgrade, and after a removal.
        changed: paths that are there after the purge and were not before, or the other way round.
        user: the agent's entry among the users, after the purge.
    """

    machine: str
    versions: tuple[str, str]
    installed: Mapping[str, Any]
    answered: tuple[Sequence[int], Sequence[int]]
    statuses: tuple[Mapping[str, Any], Mapping[str, Any]]
    settings: tuple[str, str]
    changed: frozenset[str]
    user: str


@pytest.fixture(scope="module")
def update_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle for the native engine, in a file; the trusted root lies beside it."""
    folder = tmp_path_factory.mktemp("update")
    bundle = folder / "bundle"
    bundle.mkdir()
    variant = variant_of(write_native_classifier(bundle / "model.native"), "native", "native")
    changes: dict[str, Any] = {"variants": (variant,)}
    (bundle / MANIFEST_NAME).write_bytes(encode_manifest(classification_manifest(**changes)))
    root = init_repository(folder / "repository", folder / "keys", clock=SystemClock())
    (folder / "root.json").write_bytes(root.read_bytes())
    ref = publish_bundle(bundle, folder / "repository", folder / "keys", clock=SystemClock())
    assert ref == BundleRef("rain", 3)
    return export_update(folder / "repository", ref, folder / "rain.update").path


@pytest.fixture(scope="module")
def lives(
    emulation: None,  # noqa: ARG001 - or a reason why there is none
    package_of: BuildPackage,
    update_file: Path,
    two_at_a_time: ThreadPoolExecutor,
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[Architecture, Future[Life]]:
    """Both at a time."""
    started: dict[Architecture, Future[Life]] = {}
    for architecture in RECIPES:
        packages = (package_of(architecture, "0.1.0"), package_of(architecture, "0.1.1"))
        folder = tmp_path_factory.mktemp(architecture)
        started[architecture] = two_at_a_time.submit(_live, architecture, folder, packages, update_file)
    return started


@pytest.fixture(params=RECIPES)
def life(request: pytest.FixtureRequest, lives: Mapping[Architecture, Future[Life]]) -> Life:
    """One of them, to its end."""
    return lives[request.param].result()


def test_installed_it_proves_a_bundle_from_a_file_and_scores_with_its_own_engine(life: Life):
    assert life.machine in {"aarch64", "armv7l"}
    assert life.versions[0] == "fieldloop-agent 0.1.0\n"
    assert (life.installed["outcome"], life.installed["bundle"]) == ("staged", "rain/3")
    assert life.answered[0] == list(range(_N_ROWS))
    assert life.statuses[0]["bundle"] == "rain/3"


def test_an_upgrade_keeps_settings_and_state_and_scoring_goes_on_where_it_was(life: Life):
    assert life.settings[0] == _TOML
    assert life.statuses[1] == life.statuses[0]
    assert life.answered[1] == list(range(_N_ROWS + _N_MORE))


def test_removed_it_keeps_settings_and_purged_it_leaves_nothing(life: Life):
    assert life.settings[1] == _TOML
    assert life.changed == frozenset()
    assert life.user == ""


def _live(architecture: Architecture, folder: Path, packages: tuple[Path, Path], update: Path) -> Life:
    root = Root(folder, base_archive(roots_folder(os.environ), architecture=architecture), architecture)
    before = root.files()
    first, second = packages
    root.installs(first)
    versions = [root.run("fieldloop-agent", "--version").stdout]
    settings = folder / _SETTINGS.lstrip("/")
    settings.write_text(_TOML, encoding="utf-8")
    (settings.parent / "root.json").write_bytes((update.parent / "root.json").read_bytes())
    _write_rows(settings.parent / "rows.csv", _N_ROWS)
    carried = folder / "opt" / update.name
    carried.write_bytes(update.read_bytes())
    installed = _told(root, "install", f"/opt/{update.name}")
    _score(root, _N_ROWS)
    answered, statuses = [_answered(folder)], [_told(root, "status")]
    root.installs(second)
    settings_after = [settings.read_text(encoding="utf-8")]
    statuses.append(_told(root, "status"))
    _write_rows(settings.parent / "rows.csv", _N_ROWS + _N_MORE)
    _score(root, _N_ROWS + _N_MORE)
    answered.append(_answered(folder))
    versions.append(root.run("fieldloop-agent", "--version").stdout)
    root.run("dpkg", "--remove", "fieldloop-agent")
    settings_after.append(settings.read_text(encoding="utf-8"))
    root.run("dpkg", "--purge", "fieldloop-agent")
    carried.unlink()
    return Life(
        machine=root.run("uname", "--machine").stdout.strip(),
        versions=(versions[0], versions[1]),
        installed=installed,
        answered=(answered[0], answered[1]),
        statuses=(statuses[0], statuses[1]),
        settings=(settings_after[0], settings_after[1]),
        changed=frozenset(root.files() ^ before),
        user=root.run("getent", "passwd", "fieldloop", check=False).stdout,
    )


def _write_rows(path: Path, n_rows: int) -> None:
    lines = ["temperature,wind", *(f"{row % 30},3.0" for row in range(n_rows))]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _told(root: Root, *command: str) -> Mapping[str, Any]:
    done = root.run(*_AS_ITS_USER, "fieldloop-agent", *command, "--json", "--settings", _SETTINGS)
    told: Mapping[str, Any] = json.loads(done.stdout)
    return told


def _score(root: Root, n_rows: int) -> None:
    """Run the agent until so many rows are answered, and end it as the manager of services does."""
    command = root.command(*_AS_ITS_USER, "fieldloop-agent", "run", "--settings", _SETTINGS)
    with subprocess.Popen(command, env=BARE, stdin=subprocess.DEVNULL, start_new_session=True) as agent:
        try:
            wait_until(lambda: len(_answered(root.folder)) >= n_rows, _SCORES_WITHIN_S, f"{n_rows} rows are answered")
        finally:
            agent.terminate()
            code = agent.wait(_SCORES_WITHIN_S)
    assert code == 0


def _answered(folder: Path) -> list[int]:
    path = folder / _ANSWERS
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["row"] for line in lines if line.endswith(b"\n")]
