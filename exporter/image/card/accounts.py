"""Who may log in: one user, by SSH keys alone. No account of a card has a password."""

import base64
import binascii
import re
from typing import Final

from exporter.image.errors import CardError

MAX_KEYS: Final = 100
_MAX_KEY_CHARACTERS: Final = 16 << 10
_SHOWN: Final = 40
# DSA is refused by the server, and so are RSA keys that SHA-1 signs, whose name is that of the key.
_KINDS: Final = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
# What `useradd` of Debian takes; accounts and groups that its base or our packages have are taken.
_USER: Final = re.compile("[a-z][a-z0-9_-]{0,30}")
_OF_DEBIAN: Final = """
root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc _apt nobody nogroup
adm tty disk kmem dialout fax voice cdrom floppy tape sudo audio dip operator src shadow utmp video sasl plugdev
staff users input sgx kvm render crontab netdev systemd-journal systemd-network systemd-resolve systemd-timesync
messagebus sshd _ssh fieldloop
"""
_TAKEN: Final = frozenset(_OF_DEBIAN.split())


def verify_user(name: str) -> None:
    """Raise CardError where a user cannot have this name."""
    if _USER.fullmatch(name) is None:
        raise CardError(f"user {name!r}: a name is of small letters, digits, - and _, and begins with a letter")
    if name in _TAKEN:
        raise CardError(f"user {name!r}: the system has an account of that name; choose another")


def authorized_keys(keys: tuple[str, ...]) -> bytes:
    """Return the file of those who may log in.

    Args:
        keys: lines as in ``authorized_keys``, without options.

    Raises:
        CardError: one is no public key; a private one is not repeated in the message.
    """
    if len(keys) > MAX_KEYS:
        raise CardError(f"{len(keys)} SSH keys; {MAX_KEYS} are enough for a card")
    return "".join(f"{_verified(line.strip())}\n" for line in keys).encode()


def _verified(line: str) -> str:
    if "PRIVATE KEY" in line:
        raise CardError("an SSH key is a private one, which belongs on no card; give the .pub file")
    shown = repr(line[:_SHOWN])
    if not line.isprintable() or not line.isascii() or len(line) > _MAX_KEY_CHARACTERS:
        raise CardError(f"SSH key {shown}: one line of printable ASCII is a key")
    kind, _, rest = line.partition(" ")
    if kind not in _KINDS:
        raise CardError(f"SSH key {shown}: begins with none of {', '.join(sorted(_KINDS))}")
    try:
        blob = base64.b64decode(rest.split(" ", 1)[0], validate=True)
    except binascii.Error as error:
        raise CardError(f"SSH key {shown}: its second word is not base64") from error
    # RFC 4253, 6.6: the name of the kind comes first, with its length.
    if blob[4 : 4 + len(kind)] != kind.encode():
        raise CardError(f"SSH key {shown}: does not hold a key of the kind that it names")
    if not _is_whole(blob):
        raise CardError(f"SSH key {shown}: it is cut off")
    return line


def _is_whole(blob: bytes) -> bool:
    """Tell whether a blob is fields with their lengths, to its end, and more than the name of its kind."""
    position, fields = 0, 0
    while position + 4 <= len(blob):
        position += 4 + int.from_bytes(blob[position : position + 4], "big")
        fields += 1
    return position == len(blob) and fields > 1
