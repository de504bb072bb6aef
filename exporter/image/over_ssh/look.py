"""Looks at a board before anything is sent to it, and decides from what was seen whether it can take the agent."""

import re
from dataclasses import dataclass
from typing import Final

from exporter.image.over_ssh.errors import BoardError

# For `sh -s`: prints one line a fact, changes nothing.
SCRIPT: Final = b"""\
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
tell() { printf 'fieldloop %s=%s\\n' "$1" "$2"; }
tell user "$(id -un)"
tell uid "$(id -u)"
tell machine "$(uname -m)"
tell architecture "$(dpkg --print-architecture 2>/dev/null)"
tell system "$(. /etc/os-release 2>/dev/null && printf %s "$PRETTY_NAME")"
tell model "$(tr -d '\\0' </proc/device-tree/model 2>/dev/null)"
tell memory_kib "$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)"
[ ! -d /run/systemd/system ] || tell systemd yes
for program in apt-get python3 sudo; do
    ! command -v $program >/dev/null || tell "has_$program" yes
done
! sudo -n true 2>/dev/null || tell sudo free
tell free_kib "$(df --output=avail -k /var/tmp 2>/dev/null | tail -n 1 | tr -d ' ')"
if [ "$(dpkg-query --show --showformat='${db:Status-Status}' fieldloop-agent 2>/dev/null)" = installed ]; then
    tell installed "$(dpkg-query --show --showformat='${Version}' fieldloop-agent)"
fi
tell end yes
"""
_LINE: Final = re.compile(r"^fieldloop (\w[\w-]*)=(.*)$", re.MULTILINE)
_SPARE_KIB: Final = 16 << 10


@dataclass(frozen=True, slots=True)
class Seen:
    """What a board says of itself.

    Attributes:
        user: who logged in.
        machine: the kernel's name of the processor.
        architecture: Debian's name of its programs'; empty: it is no Debian.
        system: its name and release.
        model: the board's; empty: it does not tell.
        programs: of those that are needed, which are there.
        has_free_sudo: sudo asks for no password.
        free_kib: where the archive is unpacked.
        installed: version of the agent's package; None: it is not there.
    """

    user: str
    is_root: bool
    machine: str
    architecture: str
    system: str
    model: str
    memory_bytes: int
    has_systemd: bool
    programs: frozenset[str]
    has_free_sudo: bool
    free_kib: int
    installed: str | None


def parse_seen(printed: bytes) -> Seen:
    """Parse what `SCRIPT` printed, whatever a login prints beside it.

    Raises:
        BoardError: it did not come to its end.
    """
    told = dict(_LINE.findall(printed.decode(errors="replace").replace("\r", "")))
    if "end" not in told:
        raise BoardError("the board did not say what it is: is its login shell one that runs `sh -s`?")
    return Seen(
        user=told["user"],
        is_root=told["uid"] == "0",
        machine=told["machine"],
        architecture=told["architecture"],
        system=told["system"],
        model=told["model"],
        memory_bytes=_number(told["memory_kib"]) << 10,
        has_systemd="systemd" in told,
        programs=frozenset(name.removeprefix("has_") for name in told if name.startswith("has_")),
        has_free_sudo=told.get("sudo") == "free",
        free_kib=_number(told["free_kib"]),
        installed=told.get("installed"),
    )


def verify_can_take(seen: Seen, needed_bytes: int, *, has_password: bool) -> None:
    """Check that a board can take the agent.

    Args:
        seen: what it says of itself.
        needed_bytes: what is sent to it.
        has_password: the user gives that of sudo.

    Raises:
        BoardError: it cannot; nothing was changed on it.
    """
    if not seen.architecture or "apt-get" not in seen.programs:
        raise BoardError(f"the board runs {seen.system or 'no Debian'}: Debian or Raspberry Pi OS is needed")
    if not seen.has_systemd:
        raise BoardError("systemd does not run on the board, and the agent is a service of it")
    if not seen.is_root:
        if "sudo" not in seen.programs:
            raise BoardError(f"there is no sudo on the board, and {seen.user} is not root: log in as root")
        if not (seen.has_free_sudo or has_password):
            raise BoardError(
                f"sudo asks {seen.user} for a password there: say --ask-sudo-password, or allow it without "
                f"(echo '{seen.user} ALL=(ALL) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/{seen.user})"
            )
    # Sent, unpacked beside it, and kept for the way back.
    needed_kib = 3 * (needed_bytes >> 10) + _SPARE_KIB
    if seen.free_kib < needed_kib:
        raise BoardError(f"the board has {seen.free_kib:,} KiB free in /var/tmp, and {needed_kib:,} KiB are needed")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0
