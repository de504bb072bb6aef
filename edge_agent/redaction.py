"""Takes secrets out of what is shown to others: by what they are called, by how they look, and by their very value.

It errs on the side of leaving out: a support archive is read by people who should not have to be trusted with a device.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, unquote

LEFT_OUT: Final = "(left out)"
# Shorter ones would be found in innocent text.
MIN_SECRET_CHARS: Final = 4

_WORDS: Final = frozenset(
    {"auth", "authorization", "cookie", "credential", "credentials", "key", "keys", "pass", "passphrase", "passwd"}
    | {"password", "passwords", "pin", "private", "psk", "pwd", "secret", "secrets", "token", "tokens"}
)
_SPLIT: Final = re.compile(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])")
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z0-9 ]*-----.*?(?:-----END [A-Z0-9 ]*-----|\Z)", re.DOTALL
)
# What stands before the @ of an address, and its query.
_USER_INFO: Final = re.compile(r"(?<=://)([^/\s\"']*)@")
_QUERY: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s\"'?]*)\?[^\s\"']*")
_TOLD: Final = re.compile(
    r"(?i)\b((?:[a-z0-9]+[_-])*(?:authorization|credentials?|passphrase|passwd|password|secret|token|api[_-]?key|psk)"
    r"[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic)\s+)?[^\s\"',;]+"
)

Plain = None | bool | int | float | str | Sequence["Plain"] | Mapping[str, "Plain"]


def is_secret_key(key: str) -> bool:
    """Tell whether a value of this name may be a secret."""
    return not _WORDS.isdisjoint(part.lower() for part in _SPLIT.split(key))


def redacted(value: Plain) -> Plain:
    """Return a value of settings without what is named as a secret or looks like one."""
    match value:
        case str():
            return redacted_text(value)
        case Mapping():
            return {key: LEFT_OUT if is_secret_key(key) and held else redacted(held) for key, held in value.items()}
        case Sequence():
            return [redacted(each) for each in value]
        case _:
            return value


def secrets_in(value: Plain, *, is_secret: bool = False) -> frozenset[str]:
    """Return the texts that are named as secrets somewhere in a value, or stand as passwords in an address."""
    match value:
        case str():
            found = [value] if is_secret else []
            # The password of an address may be written elsewhere without it.
            found += [unquote(told.partition(":")[2]) for told in _USER_INFO.findall(value)]
            return frozenset(text for text in found if len(text) >= MIN_SECRET_CHARS)
        case Mapping():
            inside = [secrets_in(held, is_secret=is_secret or is_secret_key(key)) for key, held in value.items()]
        case Sequence():
            inside = [secrets_in(each, is_secret=is_secret) for each in value]
        case _:
            inside = []
    return frozenset().union(*inside)


def redacted_text(text: str, secrets: frozenset[str] = frozenset()) -> str:
    """Return text without what looks like a secret, and without these, however they are written.

    Args:
        text: whatever somebody wrote, into a log for example.
        secrets: their values.
    """
    # The longest first: one may be part of another.
    for secret in sorted(secrets, key=len, reverse=True):
        for written in {secret, json.dumps(secret)[1:-1], quote(secret), quote(secret, safe="")}:
            text = text.replace(written, LEFT_OUT)
    text = _PEM.sub(LEFT_OUT, text)
    text = _QUERY.sub(rf"\1?{LEFT_OUT}", text)
    text = _USER_INFO.sub(f"{LEFT_OUT}@", text)
    return _TOLD.sub(rf"\1{LEFT_OUT}", text)
