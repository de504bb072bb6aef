"""On the processors of boards the agent's package installs, scores, upgrades with state and settings, and purges."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
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
from tests.bundles import write_rows
from tests.integration.deb.conftest import BuildPackage
from tests.integration.deb.machine import Root, base_archive, bytecode_of
from tests.unit.edge_agent.examples import classification_manifest, variant_of, write_native_classifier
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
_FEATURES: Final = ("temperature", "wind")
_N_ROWS: Final = 200
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
        version: by architecture of the machine, as the agent prints it.
        installed: the answer to an update file, as JSON.
        answers: how many rows were answered before and after the upgrade.
        states: the status before and after the upgrade, as JSON.
        kept: settings after the upgrade, and after a removal.
        left: paths that were not there before, after the purge; and those that are gone.
    """

    machine: str
    versions: tuple[str, str]
    installed: Mapping[str, Any]
    answers: tuple[int, int]
    states: tuple[Mapping[str, Any], Mapping[str, Any]]
    upgraded: str
    kept: str
    left: frozenset[str]
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
    assert life.answers[0] == _N_ROWS
    assert life.states[0]["bundle"] == "rain/3"


def test_an_upgrade_keeps_settings_and_state(life: Life):
    assert life.upgraded == _TOML
    assert life.states[1]["bundle"] == "rain/3"
    assert life.answers[1] >= life.answers[0]


def test_removed_it_keeps_settings_and_purged_it_leaves_nothing(life: Life):
    assert life.kept == _TOML
    assert life.left == set()
    assert life.user == ""


def _live(architecture: Architecture, folder: Path, packages: tuple[Path, Path], update: Path) -> Life:
    root = Root(folder, base_archive(roots_folder(os.environ), architecture=architecture), architecture)
    before = root.files()
    first, second = packages
    root.installs(first)
    assert bytecode_of(root, "usr/lib/fieldloop/edge_agent/agent")
    settings = folder / _SETTINGS.lstrip("/")
    settings.write_text(_TOML, encoding="utf-8")
    (settings.parent / "root.json").write_bytes((update.parent / "root.json").read_bytes())
    write_rows(settings.parent / "rows.csv", _N_ROWS, _FEATURES)
    (folder / "opt" / update.name).write_bytes(update.read_bytes())
    version = root.run("fieldloop-agent", "--version").stdout
    machine = root.run("uname", "--machine").stdout.strip()
    installed = _told(root, "install", f"/opt/{update.name}")
    with _running(root):
        wait_until(lambda: _lines(folder) >= _N_ROWS, _SCORES_WITHIN_S, "it scores")
    answers, state = _lines(folder), _told(root, "status")
    root.installs(second)
    upgraded = settings.read_text(encoding="utf-8")
    later = _told(root, "status")
    answers_later = _lines(folder)
    root.run("dpkg", "--remove", "fieldloop-agent")
    kept = settings.read_text(encoding="utf-8")
    root.run("dpkg", "--purge", "fieldloop-agent")
    (folder / "opt" / update.name).unlink()
    return Life(
        machine=machine,
        versions=(version, ""),
        installed=installed,
        answers=(answers, answers_later),
        states=(state, later),
        upgraded=upgraded,
        kept=kept,
        left=frozenset(root.files() ^ before),
        user=root.run("getent", "passwd", "fieldloop", check=False).stdout,
    )


def _told(root: Root, *command: str) -> Mapping[str, Any]:
    done = root.run(*_AS_ITS_USER, "fieldloop-agent", *command, "--json", "--settings", _SETTINGS)
    told: Mapping[str, Any] = json.loads(done.stdout)
    return told


@contextmanager
def _running(root: Root) -> Iterator[None]:
    command = root.command(*_AS_ITS_USER, "fieldloop-agent", "run", "--settings", _SETTINGS)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as agent:
        try:
            yield
        finally:
            agent.terminate()
            agent.wait(_SCORES_WITHIN_S)


def _lines(folder: Path) -> int:
    path = folder / _ANSWERS
    return len(path.read_bytes().splitlines()) if path.exists() else 0
