"""A card as a user makes one, and the board that it makes."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_agent.bundle import MANIFEST_NAME, encode_manifest
from edge_agent.clock import SystemClock
from edge_agent.scoring.selection import Device
from exporter.image.card.files import Card, System, root_packages
from exporter.image.card.loading import load_card
from exporter.proof.emulated import roots_folder
from exporter.repository.carrying import export_update
from exporter.repository.repository import init_repository, publish_bundle
from tests.bundles import write_rows
from tests.integration.card.board import Board
from tests.integration.deb.conftest import BuildPackage, package_of  # noqa: F401 - a fixture
from tests.integration.deb.machine import base_archive
from tests.unit.edge_agent.examples import classification_manifest, variant_of, write_native_classifier

HERE = Device("x86_64", ("native",), 1 << 30)
# Debian's programs for Wi-Fi are installed; there is no radio.
ALL = System(ssh_user="admin", has_wifi=True)


@dataclass(frozen=True, slots=True)
class MadeCard:
    """A card, and the key of who may log in."""

    card: Card
    key: Path


@pytest.fixture(scope="session")
def made_card(tmp_path_factory: pytest.TempPathFactory) -> MadeCard:
    """A card from files, by the road of the command."""
    folder = tmp_path_factory.mktemp("card")
    repository, keys = folder / "repository", folder / "keys"
    root = init_repository(repository, keys, clock=SystemClock())
    (folder / "root.json").write_bytes(root.read_bytes())
    bundle = folder / "bundle"
    bundle.mkdir()
    changes: dict[str, Any] = {
        "variants": (variant_of(write_native_classifier(bundle / "model.native"), "native", "native"),)
    }
    (bundle / MANIFEST_NAME).write_bytes(encode_manifest(classification_manifest(**changes)))
    ref = publish_bundle(bundle, repository, keys, clock=SystemClock())
    export_update(repository, ref, folder / "rain.update")
    write_rows(folder / "rows.csv", 200_000, ("temperature", "wind"))
    (folder / "agent.toml").write_text(
        """
device = "press-*"
fleet = "test"
[broker]
port = 1
[repository]
url = "http://127.0.0.1:1"
root = "root.json"
model = "rain"
[source]
kind = "csv"
path = "rows.csv"
rows_per_second = 100.0
[sink]
kind = "json_lines"
path = "answers.jsonl"
[telemetry]
max_window_s = 1.0
"""
    )
    key = folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a person", "-f", str(key)], check=True)
    (folder / "card.toml").write_text(
        """
bundle = "rain.update"
[network]
country = "DE"
[[network.wifi]]
ssid = "plant"
passphrase = "correct horse"
[ssh]
keys = ["id.pub"]
"""
    )
    return MadeCard(load_card(folder / "card.toml", HERE), key)


@pytest.fixture(scope="session")
def board(
    made_card: MadeCard,
    package_of: BuildPackage,  # noqa: F811 - the fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Board]:
    """The board that it makes, switched off."""
    packages = ("python3", *root_packages(ALL))
    archive = base_archive(roots_folder(os.environ), packages)
    made = Board(tmp_path_factory.mktemp("board"), archive, package_of("amd64", "0.1.0"), made_card.card)
    yield made
    made.stop()
