"""The data partition: what makes one card another than the next. All that a board writes lies there, too."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from exporter.image.card.accounts import authorized_keys
from exporter.image.card.agent_settings import SETTINGS_FOLDER, STATE_FOLDER, settings_text
from exporter.image.card.contents import DATA, PLAIN, PRIVATE, CardFile
from exporter.image.card.description import Card
from exporter.image.card.network_files import network_files
from exporter.image.card.preloaded import preloaded_files
from exporter.image.errors import CardError

# Each is bound to its place on the board.
SETTINGS: Final = DATA / "card" / "fieldloop"
STATE: Final = DATA / "fieldloop"
AUTHORIZED_KEYS: Final = DATA / "card" / "authorized_keys"


def agent_files(card: Card) -> Iterator[CardFile]:
    """Yield settings, identity and bundle of the agent, where a board without partitions of ours has them.

    All belong to root; the state folder is given to the agent, with all in it, by systemd when the agent starts first.

    Raises:
        CardError: something in it cannot be on a card; the message says what.
    """
    yield _file(SETTINGS_FOLDER / "agent.toml", settings_text(card.settings).encode())
    for placed in card.placed:
        yield _file(placed.path, placed.content, PRIVATE if placed.is_secret else PLAIN)
    if card.bundle is not None:
        for path, content in preloaded_files(card.bundle, card.settings.repository.model):
            yield _file(STATE_FOLDER / path, content)


def data_files(card: Card) -> Iterator[CardFile]:
    """Yield the files of the data partition; raise CardError as `agent_files` does."""
    for file in agent_files(card):
        yield CardFile(_on_data(file.path), file.content, file.mode, "data")
    yield from network_files(card.network)
    if card.network.wifi and not card.system.has_wifi:
        raise CardError("there is a Wi-Fi network, but the system is to be without Wi-Fi")
    if bool(card.ssh_keys) != (card.system.ssh_user is not None):
        raise CardError("SSH takes both, a user and a key of his: nobody logs in without a key")
    if card.ssh_keys:
        yield CardFile(AUTHORIZED_KEYS, authorized_keys(card.ssh_keys), PLAIN, "data")


def _on_data(path: PurePosixPath) -> PurePosixPath:
    for folder, ours in ((SETTINGS_FOLDER, SETTINGS), (STATE_FOLDER, STATE)):
        if path.is_relative_to(folder):
            return ours / path.relative_to(folder)
    raise CardError(f"{path}: a card's files lie in {SETTINGS_FOLDER} and {STATE_FOLDER}")


def _file(path: PurePosixPath, content: bytes, mode: int = PLAIN) -> CardFile:
    return CardFile(path, content, mode, "root")
