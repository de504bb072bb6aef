"""Packs what a board takes besides its operating system: the agent's package, its files, and a bundle.

``device/apply.sh`` puts it in place, as an image starts for the first time or on a board that runs. It tells three
kinds of files apart: those that are always written, those of a bundle, which a board that has bundles does not need,
and a claim token, which a board that has an identity does not need.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from exporter.image.card.agent_settings import STATE_FOLDER, TOKEN
from exporter.image.card.contents import CardFile
from exporter.image.card.data_files import agent_files
from exporter.image.card.description import Card
from exporter.image.customise.package import AgentPackage

PACKAGE_NAME: Final = "fieldloop-agent.deb"
APPLY: Final = Path(__file__).parent / "device" / "apply.sh"
_PRIVATE: Final = 0o600
# Secrets of the settings, and other files that are the card's.
_SECRETS: Final = STATE_FOLDER / "card"


def pack_payload(package: AgentPackage, card: Card, more: Iterable[CardFile] = ()) -> bytes:
    """Return the archive that `APPLY` takes; the same inputs give the same bytes.

    Args:
        package: for the board's architecture.
        card: whose agent's files go in.
        more: files that are always written, too, with their paths on the board.

    Raises:
        CardError: something in the card cannot be.
    """
    packed = io.BytesIO()
    entries = [*_sorted_out(agent_files(card)), *((f"settings{file.path}", file) for file in more)]
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, PACKAGE_NAME, package.content, _PRIVATE)
        for name, file in sorted(entries, key=lambda entry: entry[0]):
            _add(tar, name, file.content, file.mode)
    return packed.getvalue()


def _sorted_out(files: Iterable[CardFile]) -> Iterator[tuple[str, CardFile]]:
    for file in files:
        yield f"{_kind(file.path)}{file.path}", file


def _kind(path: PurePosixPath) -> str:
    if path == TOKEN:
        return "token"
    is_bundle = path.is_relative_to(STATE_FOLDER) and not path.is_relative_to(_SECRETS)
    return "bundle" if is_bundle else "settings"


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(content), mode
    header.uname = header.gname = "root"
    tar.addfile(header, io.BytesIO(content))
