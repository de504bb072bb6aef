"""A device's name that is its machine's own, for cards that are written alike."""

from pathlib import Path
from typing import Final

from edge_agent.errors import SettingsError

STAR: Final = "*"
_DIGEST_BYTES: Final = 5
_MAX_BYTES: Final = 256
# The board's serial number says more than the system's: two cards that were copied with their machine id would be one.
_PLACES: Final = ("proc/device-tree/serial-number", "etc/machine-id")
# systemd's word for a machine that has not started yet.
_NOT_YET: Final = b"uninitialized"


def name_of_this_machine(pattern: str, root: Path = Path("/")) -> str:
    """Return a device's name, with ten hex digits of this machine in place of its star.

    Args:
        pattern: as in the settings; without a star it is the name.
        root: where this machine's files are.

    Raises:
        SettingsError: there is more than one star, or nothing that tells this machine from others.
    """
    if STAR not in pattern:
        return pattern
    if pattern.count(STAR) > 1:
        raise SettingsError(f"{pattern!r}: one {STAR} stands for this machine; there are {pattern.count(STAR)}")
    for place in _PLACES:
        try:
            with (root / place).open("rb") as file:
                told = file.read(_MAX_BYTES).strip(b"\0 \n")
        except OSError:
            continue
        if told.strip(b"0") and told != _NOT_YET:
            # Not the number itself: a machine id is not to be told to others (machine-id(5)).
            import hashlib  # noqa: PLC0415 - it loads OpenSSL, and most devices have a name of their own

            digits = hashlib.blake2b(told, digest_size=_DIGEST_BYTES, person=b"fieldloop").hexdigest()
            return pattern.replace(STAR, digits)
    raise SettingsError(f"{pattern!r}: nothing here tells this machine from others ({', '.join(_PLACES)}); give a name")
