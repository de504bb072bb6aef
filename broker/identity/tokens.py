"""Claim tokens: what a device shows, once, to get its first certificate.

A token is ``<fleet>.<issued>.<secret>``: the fleet, so that a device at the wrong door is told so; when it was made, in
hex seconds, which gives a device whose clock is wrong a time that cannot be later than now; and 256 bits of chance. So
much chance needs no slow hash: the register keeps SHA-256 of the whole text, and nobody reads a token out of it.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final

from broker.identity.names import IdentityError
from broker.topics import FleetId, TopicError, parse_fleet

MAX_TOKEN_CHARACTERS: Final = 160
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"(?P<fleet>[a-z0-9_-]{1,63})\.(?P<issued>[0-9a-f]{1,12})\.(?P<secret>[A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class ClaimToken:
    """A token as its holder reads it; `text` is the secret, so this is never logged."""

    text: str
    fleet: FleetId
    issued_utc_s: int

    @property
    def digest(self) -> str:
        """What the register keeps of it, hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """How people speak of it: says nothing of the secret."""
        return self.digest[:12]

    def __repr__(self) -> str:
        """Say which one it is, without the secret."""
        return f"ClaimToken({self.fleet}, {self.label})"


def make_token(fleet: FleetId, now_s: float) -> ClaimToken:
    """Make a new token."""
    issued = int(now_s)
    return ClaimToken(f"{fleet}.{issued:x}.{secrets.token_urlsafe(_SECRET_BYTES)}", fleet, issued)


def parse_token(text: str) -> ClaimToken:
    """Read a token.

    Raises:
        IdentityError: it is none; the message does not repeat it.
    """
    found = _TOKEN.fullmatch(text) if len(text) <= MAX_TOKEN_CHARACTERS else None
    if found is None:
        raise IdentityError("this is no claim token: it has the form fleet.time.secret")
    try:
        return ClaimToken(text, parse_fleet(found["fleet"]), int(found["issued"], 16))
    except TopicError as error:
        raise IdentityError("this is no claim token: its fleet cannot be one") from error
