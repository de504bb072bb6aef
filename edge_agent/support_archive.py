"""Gathers what helps to find out why an agent does what it does, in one archive that may be given to others.

No file of the device is put into it as it is, but for the end of a log: what goes in is said by name here, and all of
it passes `redaction`. Keys, certificates, models and rows stay where they are.
"""

import contextlib
import io
import os
import platform
import shutil
import subprocess
import tarfile
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from edge_agent.asking import ask_to_diagnose, become_owner_of
from edge_agent.clock import Clock
from edge_agent.errors import StorageError
from edge_agent.facts import read_facts
from edge_agent.mailbox import DiagnoseAsk
from edge_agent.redaction import is_secret_key, redacted, redacted_text, secrets_in
from edge_agent.settings import AgentSettings, read_password
from edge_agent.status_report import as_json, as_text, read_report
from edge_agent.update.slots import read_record

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LOG_BYTES: Final = 256 << 10
JOURNAL_S: Final = 10.0
SERVICE: Final = "fieldloop-agent"


class Archive(Struct, frozen=True):
    """A support archive that was written.

    Attributes:
        members: what lies in it.
        agent_answered: whether a running agent told of itself.
    """

    path: str
    size_bytes: int
    members: tuple[str, ...]
    agent_answered: bool


def write_archive(settings: AgentSettings, target: Path | None, log: Path | None, clock: Clock) -> Archive:
    """Write an archive, readable by its owner alone.

    Args:
        settings: of the agent.
        target: where to; by default ``fieldloop-<device>-<seconds>.tar.gz`` in the current folder.
        log: a log file whose end is taken along; None: the journal's, where there is one.
        clock: of this machine.

    Raises:
        StorageError: it cannot be written, or is there already.
    """
    place = target or Path(f"fieldloop-{settings.device}-{clock.utc_s():.0f}.tar.gz")
    plain = msgspec.to_builtins(settings)
    named = {name: value for name, value in os.environ.items() if is_secret_key(name)}
    secrets = secrets_in(plain) | secrets_in(named) | _passwords_of(settings)
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            # Before root, who may read the journal and write anywhere, becomes the agent's own user.
            lines = _read_end(log) if log is not None else _read_journal()
            become_owner_of(Path(settings.state))
            told = ask_to_diagnose(Path(settings.state), DiagnoseAsk())
            texts = _gather(settings, redacted(plain), lines, told, clock)
            members = {name: redacted_text(text, secrets) for name, text in texts.items()}
            file.write(_packed(members, settings.device, clock))
    except OSError as error:
        raise StorageError(f"{place}: cannot be written: {error.strerror or error}") from error
    return Archive(str(place), place.stat().st_size, tuple(members), told is not None)


def _passwords_of(settings: AgentSettings) -> frozenset[str]:
    """Return the passwords that lie in files, so that they are found wherever somebody logged them."""
    found: set[str] = set()
    for place in (settings.source, settings.sink):
        if place.password_file is not None:
            with contextlib.suppress(OSError):
                found.add(read_password(Path(place.password_file)))
    return secrets_in({"password": sorted(found)})


def _gather(settings: AgentSettings, plain: object, lines: str, told: str | None, clock: Clock) -> dict[str, str]:
    state = Path(settings.state)
    report = read_report(settings)
    parts: dict[str, Callable[[], str]] = {
        "about.json": lambda: _json(_about(clock)),
        "settings.json": lambda: _json(plain),
        "status.json": lambda: as_json(report),
        "status.txt": lambda: as_text(report),
        "update.json": lambda: _json(read_record(state)),
        "facts.json": lambda: _json(read_facts(state)),
        "files.json": lambda: _json(_files_below(state)),
        "agent.json": lambda: told or "",
        "log.txt": lambda: lines,
    }
    texts: dict[str, str] = {}
    for name, make in parts.items():
        try:
            text = make()
        except Exception as error:  # noqa: BLE001 - whatever is broken here is what the archive is for
            text = f"cannot be told: {error!r}"
        if text:
            texts[name] = text
    return texts


def _about(clock: Clock) -> dict[str, object]:
    return {
        "at_utc_s": clock.utc_s(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "uid": os.getuid(),
        "packages": {dist.name: dist.version for dist in sorted(distributions(), key=lambda dist: dist.name)},
    }


def _files_below(folder: Path) -> list[dict[str, object]]:
    """List names, sizes and times; nothing is opened."""
    found: list[dict[str, object]] = []
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(parent, name)
            try:
                told = path.lstat()
            except OSError:
                continue
            size, mode = told.st_size, f"{told.st_mode:o}"
            found.append(
                {"name": str(path.relative_to(folder)), "bytes": size, "mode": mode, "changed_utc_s": told.st_mtime}
            )
    return found


def _read_end(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_LOG_BYTES))
            return file.read(MAX_LOG_BYTES).decode(errors="replace")
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror or error}"


def _read_journal() -> str:
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        return ""
    try:
        ran = subprocess.run(
            [journalctl, "--unit", SERVICE, "--lines", "1000", "--no-pager", "--output", "short-iso-precise"],
            capture_output=True,
            check=False,
            timeout=JOURNAL_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the journal cannot be read: {error}"
    return ran.stdout[-MAX_LOG_BYTES:].decode(errors="replace")


def _packed(members: dict[str, str], device: str, clock: Clock) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, text in members.items():
            data = text.encode(errors="replace")
            entry = tarfile.TarInfo(f"fieldloop-{device}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(clock.utc_s())
            archive.addfile(entry, io.BytesIO(data))
    return whole.getvalue()


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode()
