"""What a person at the device and the running agent say to each other: small files in the inbox of the state folder.

Whoever may write to the state folder may ask; nobody else can. A file appears at once and as a whole, so no side ever
waits for the other in the middle of one. Update files that are to be installed lie here as well.
"""

import contextlib
import os
import random
import re
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec
from msgspec import Meta, Struct

from edge_agent.durable import replace_file, sync_folder

INBOX_FOLDER: Final = "inbox"
MAX_LETTER_BYTES: Final = 64 << 10
MAX_ASKS: Final = 16
_ASK: Final = ".ask.json"
_ANSWER: Final = ".answer.json"
_UPDATE: Final = ".update"
_PART: Final = ".part"
_ID: Final = re.compile(r"local-[0-9a-f]{16}")

Text = Annotated[str, Meta(max_length=1024)]


class RollBackAsk(Struct, frozen=True, tag="roll_back"):
    """Go back to the previous bundle."""

    reason: Text
    by: Text


class InstallAsk(Struct, frozen=True, tag="install"):
    """Install the update file of the same id, which lies in the inbox.

    Attributes:
        name, version: the bundle that it is said to hold.
        file: how it was called where it came from.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    version: Annotated[int, Meta(ge=1, le=2**31)]
    file: Text
    by: Text


class DiagnoseAsk(Struct, frozen=True, tag="diagnose"):
    """Tell what the agent knows of itself."""


Ask = RollBackAsk | InstallAsk | DiagnoseAsk


class LocalAnswer(Struct, frozen=True):
    """What came of an ask.

    Attributes:
        report: answer to `DiagnoseAsk`: JSON text.
    """

    accepted: bool
    reason: str = ""
    report: str = ""


_ASKS = msgspec.json.Decoder(Ask)
_ANSWERS = msgspec.json.Decoder(LocalAnswer)


def new_id() -> str:
    """Return a name for an ask that nobody else chooses."""
    return f"local-{random.SystemRandom().getrandbits(64):016x}"


def inbox_of(state: Path) -> Path:
    """Return the folder of a state folder where letters lie."""
    return state / INBOX_FOLDER


def leave_ask(state: Path, ask_id: str, ask: Ask) -> None:
    """Put an ask where the agent finds it.

    Raises:
        OSError: the state folder cannot be written.
    """
    inbox_of(state).mkdir(exist_ok=True)
    replace_file(inbox_of(state) / f"{ask_id}{_ASK}", msgspec.json.encode(ask))


def take_asks(state: Path) -> list[tuple[str, Ask]]:
    """Remove what was asked from the inbox and return it, by id; what cannot be read is removed and passed over."""
    taken: list[tuple[str, Ask]] = []
    for path in _letters(state, _ASK)[:MAX_ASKS]:
        data = _read(path)
        path.unlink(missing_ok=True)
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            taken.append((path.name.removesuffix(_ASK), _ASKS.decode(data)))
    return taken


def leave_answer(state: Path, ask_id: str, answer: LocalAnswer) -> None:
    """Put an answer where who asked finds it, unless that has given up waiting.

    Raises:
        OSError: the state folder cannot be written.
    """
    replace_file(inbox_of(state) / f"{ask_id}{_ANSWER}", msgspec.json.encode(answer))


def take_answer(state: Path, ask_id: str) -> LocalAnswer | None:
    """Remove an answer from the inbox and return it; None while there is none."""
    path = inbox_of(state) / f"{ask_id}{_ANSWER}"
    data = _read(path)
    if not data:
        return None
    path.unlink(missing_ok=True)
    try:
        return _ANSWERS.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def withdraw(state: Path, ask_id: str) -> bool:
    """Take an ask back that nobody has taken; return whether it was still there. Its answer is removed as well."""
    (inbox_of(state) / f"{ask_id}{_ANSWER}").unlink(missing_ok=True)
    try:
        (inbox_of(state) / f"{ask_id}{_ASK}").unlink()
    except FileNotFoundError:
        return False
    return True


def file_in_inbox(state: Path, ask_id: str) -> Path:
    """Return where the update file of an ask lies."""
    return inbox_of(state) / f"{ask_id}{_UPDATE}"


def copy_into_inbox(state: Path, ask_id: str, file: BinaryIO) -> None:
    """Copy an open update file into the inbox, durably: the stick that it lies on may be pulled.

    Raises:
        OSError: the state folder cannot be written, or the file not read; nothing is left.
    """
    inbox_of(state).mkdir(exist_ok=True)
    part = inbox_of(state) / f"{ask_id}{_PART}"
    try:
        import shutil  # noqa: PLC0415 - it brings four compressors along

        with part.open("wb") as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())
        part.replace(file_in_inbox(state, ask_id))
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(inbox_of(state))


def remove_update(state: Path, ask_id: str) -> None:
    """Remove an update file that is not needed any more."""
    file_in_inbox(state, ask_id).unlink(missing_ok=True)


def sweep_inbox(state: Path, keep: AbstractSet[str]) -> None:
    """At the agent's start: remove answers that nobody waits for, and update files that nobody needs.

    Args:
        state: the state folder.
        keep: ids of update files that are needed.
    """
    for suffix in (_UPDATE, _PART, _ANSWER):
        for path in _letters(state, suffix):
            ask_id = path.name.removesuffix(suffix)
            if ask_id not in keep and not (inbox_of(state) / f"{ask_id}{_ASK}").exists():
                path.unlink(missing_ok=True)


def _letters(state: Path, suffix: str) -> list[Path]:
    try:
        with os.scandir(inbox_of(state)) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(suffix))
    except FileNotFoundError:
        return []
    return [inbox_of(state) / name for name in names if _ID.fullmatch(name.removesuffix(suffix))]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_LETTER_BYTES)
    except OSError:
        return b""
