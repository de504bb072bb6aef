"""The device's identity on the disk: one file with key, certificates and what is known of them.

One file, because it is replaced at once: a cut leaves the old key with the old certificate, or the new with the new.
The first line is JSON, which readers of PEM pass over.
"""

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.durable import replace_file

IDENTITY_NAME: Final = "identity.pem"
# The key of a request that is not answered yet.
NEXT_KEY_NAME: Final = "identity-next.key"
_MARK: Final = b"fieldloop-identity: "
_MAX_BYTES: Final = 64 << 10


class Held(Struct, frozen=True):
    """What is known of the present identity.

    Attributes:
        device, fleet: whose it is.
        not_before_utc_s, not_after_utc_s: when its certificate is good.
        at_utc_s: the server's time when it was given: no later moment can be before it.
        broker_host, broker_port: where the fleet's broker listens.
        token: which claim token it was got with, as a label that says nothing of the token.
    """

    device: str
    fleet: str
    not_before_utc_s: float
    not_after_utc_s: float
    at_utc_s: float
    broker_host: str
    broker_port: int
    token: str


def read_held(state: Path) -> Held | None:
    """Return what is known of the identity in a state folder; None where there is none that can be read."""
    try:
        with (state / IDENTITY_NAME).open("rb") as file:
            first = file.readline(_MAX_BYTES)
    except OSError:
        return None
    if not first.startswith(_MARK):
        return None
    try:
        return msgspec.json.decode(first[len(_MARK) :], type=Held)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write_identity(state: Path, held: Held, key: bytes, chain: bytes) -> None:
    """Replace the identity, durably, readable for the agent's user alone.

    Raises:
        OSError: the old one is still there.
    """
    data = _MARK + msgspec.json.encode(held) + b"\n" + key + chain
    replace_file(state / IDENTITY_NAME, data, mode=0o600)
