"""Installs the agent on a board: looks at it, packs what suits it, and has it applied there by root."""

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from edge_agent.scoring.selection import Device
from exporter.image.card.loading import load_card
from exporter.image.customise.package import AgentPackage, choose_package
from exporter.image.customise.payload import APPLY, pack_payload
from exporter.image.over_ssh.connection import OnLine
from exporter.image.over_ssh.errors import BoardError
from exporter.image.over_ssh.look import SCRIPT, parse_seen, verify_can_take

DEFAULT_WAIT_S: Final = 60
_WAIT: Final = "@WAIT@"
# Run by root; what it reads is two files in an archive. Nothing in it is a secret, and no quote that a shell would see.
_UNPACK: Final = (
    "umask 077; d=$(mktemp -d /var/tmp/fieldloop-sent.XXXXXX) || exit 1; "
    "tar -x -o -f - -C $d || { rm -rf $d; exit 1; }; "
    "sh $d/apply.sh live $d/payload.tar @WAIT@; code=$?; rm -rf $d; exit $code"
)
_ENDINGS: Final = ("refused: ", "failed: ")
# Asks in any case, whatever was asked a moment ago: what it reads is in front of the archive.
_SUDO: Final = "sudo -k -S -p ''"


class Way(Protocol):
    """To a board: `over_ssh.connection`."""

    def run(self, command: str, given: bytes, on_line: OnLine | None = None) -> tuple[int, bytes]:
        """Run a command there; see `Connection.run`."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be installed.

    Attributes:
        card: path of ``card.toml``; its agent, token and bundle are taken, the board keeps its network and its users.
        device: name of the device, in place of what the files say.
        token: file with its claim token, in place of what the files say.
        sudo_password: None: sudo asks for none.
        wait_s: the agent must be well by then.
    """

    card: Path
    packages: tuple[AgentPackage, ...]
    device: str | None = None
    token: Path | None = None
    sudo_password: str | None = field(default=None, repr=False)
    wait_s: int = DEFAULT_WAIT_S


class Plan(Struct, frozen=True):
    """What will be done.

    Attributes:
        before: version that is there; None: none is.
        sent_bytes: over the connection.
    """

    board: str
    system: str
    architecture: str
    device: str
    before: str | None
    version: str
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, and what does it.

    Attributes:
        command: for the login shell there.
        given: on its standard input: the password of sudo where it asks, then the archive.
    """

    plan: Plan
    command: str
    given: bytes = field(repr=False)


def prepare(connection: Way, asked: Asked) -> Prepared:
    """Look at a board, and pack what suits it; nothing is changed on it.

    Raises:
        BoardError: it cannot be reached, or cannot take the agent.
        CardError: what is asked for cannot be.
        CustomiseError: there is no package for its architecture.
    """
    code, printed = connection.run("sh -s", SCRIPT)
    if code:
        raise BoardError(f"the board's shell ended with {code}: {printed.decode(errors='replace').strip()}")
    seen = parse_seen(printed)
    if not seen.architecture:
        verify_can_take(seen, 0, has_password=True)
    package = choose_package(asked.packages, seen.architecture, "the board")
    card = load_card(
        asked.card,
        Device(seen.machine, ("native",), seen.memory_bytes),
        device=asked.device,
        token=asked.token,
    )
    archive = _archive(pack_payload(package, card))
    verify_can_take(seen, len(archive), has_password=asked.sudo_password is not None)
    plan = Plan(
        board=seen.model or seen.machine,
        system=seen.system,
        architecture=seen.architecture,
        device=card.settings.device,
        before=seen.installed,
        version=package.version,
        sent_bytes=len(archive),
    )
    # A word of dash's, bash's, zsh's, csh's and fish's: nothing in it is one of theirs but the quotes.
    unpack = f"sh -c '{_UNPACK.replace(_WAIT, str(asked.wait_s))}'"
    if seen.is_root:
        return Prepared(plan, unpack, archive)
    if seen.has_free_sudo or asked.sudo_password is None:
        return Prepared(plan, f"sudo -n {unpack}", archive)
    password = f"{asked.sudo_password}\n".encode()
    # Before the archive: sudo would take that for a second try.
    code, _ = connection.run(f"{_SUDO} true", password)
    if code:
        raise BoardError(f"sudo there does not take this password of {seen.user}'s, or does not let him be root")
    return Prepared(plan, f"{_SUDO} {unpack}", password + archive)


def install(connection: Way, prepared: Prepared, tell: Callable[[str], None]) -> None:
    """Have it done, and wait until the agent is well.

    Args:
        connection: to the board that it was prepared for.
        prepared: by `prepare`.
        tell: is told of each step.

    Raises:
        BoardError: the board could not be reached, or the agent was not well; the message says how it was left.
    """
    code, printed = connection.run(prepared.command, prepared.given, tell)
    if code:
        lines = printed.decode(errors="replace").strip().splitlines() or [f"it ended with {code}, without a word"]
        ends = [line for line in lines if line.startswith(_ENDINGS)]
        raise BoardError((ends or lines)[-1].removeprefix(_ENDINGS[0]))


def _archive(payload: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in ((APPLY.name, APPLY.read_bytes()), ("payload.tar", payload)):
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(content), 0o600
            tar.addfile(header, io.BytesIO(content))
    return packed.getvalue()
