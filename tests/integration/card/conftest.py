"""A card as a user makes one, and the board that it makes."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.scoring.selection import Device
from exporter.image.card.files import Card, System, root_packages
from exporter.image.card.loading import load_card
from exporter.proof.emulated import roots_folder
from tests.cards import make_user_files
from tests.debian_machine import base_archive
from tests.integration.card.board import Board
from tests.integration.deb.conftest import BuildPackage, package_of  # noqa: F401 - a fixture

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
    files = make_user_files(tmp_path_factory.mktemp("card"))
    files.set_agent(device="press-*", broker_port=1, repository="http://127.0.0.1:1")
    files.say(
        """
bundle = "rain.update"
[network]
country = "DE"
[[network.wifi]]
ssid = "plant"
passphrase = "correct horse"
[ssh]
keys = ["id_ed25519.pub"]
"""
    )
    return MadeCard(load_card(files.card, HERE), files.key)


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
