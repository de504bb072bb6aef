"""Takes one row apart: an object of feature names and values, or an array in the manifest's order."""

from collections.abc import Sequence
from typing import Final

import msgspec

from edge_agent.scoring.schema import RawRow, RawValue, Unreadable

# A longer one is refused unread.
MAX_ROW_BYTES: Final = 1 << 20

_Value = bool | float | str | None
_Content = dict[str, _Value] | list[_Value]
_Decoder = msgspec.json.Decoder[_Content] | msgspec.msgpack.Decoder[_Content]
_JSON: Final = msgspec.json.Decoder(_Content)
_PACKED: Final = msgspec.msgpack.Decoder(_Content)


def parse_row(payload: bytes, features: Sequence[str]) -> RawRow:
    """Return the values of ``features`` in their order, ``(n_features,)``; of an array, all values that it has.

    What is no row, or is longer than `MAX_ROW_BYTES`, is `Unreadable`.
    """
    if len(payload) > MAX_ROW_BYTES:
        return Unreadable()
    return _parse(_JSON, payload, features)


def parse_packed_row(payload: bytes, features: Sequence[str]) -> RawRow:
    """Do the same for MessagePack, which has NaN and the infinities too."""
    return _parse(_PACKED, payload, features)


def _parse(decoder: _Decoder, payload: bytes, features: Sequence[str]) -> RawRow:
    try:
        content = decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Unreadable()
    values = [content.get(name) for name in features] if isinstance(content, dict) else content
    return [_raw(value) for value in values]


def _raw(value: _Value) -> RawValue:
    """Return a value as a raw value: true and false are words, not the numbers 1 and 0."""
    return str(value).lower() if isinstance(value, bool) else value
