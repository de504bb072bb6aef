"""Writes a value as TOML: tables of texts, numbers, lists and tables, which the standard library only reads."""

import math
from collections.abc import Iterator, Mapping
from typing import Final

Scalar = str | int | float | bool
Value = Scalar | list["Value"] | Mapping[str, "Value"]

_ESCAPED: Final = {'"': '\\"', "\\": "\\\\"}
_FIRST_PRINTABLE: Final = 0x20
_DELETE: Final = 0x7F


def toml_text(table: Mapping[str, Value]) -> str:
    """Return a table as TOML text; every key is quoted where it must be, every text escaped."""
    return "\n".join(_lines(table, ())) + "\n"


def _lines(table: Mapping[str, Value], path: tuple[str, ...]) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if path and (plain or not table):
        yield f"\n[{'.'.join(map(_key, path))}]"
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, inner in table.items():
        if isinstance(inner, Mapping):
            yield from _lines(inner, (*path, key))


def _value(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            # TOML has words of its own for these.
            return repr(value) if math.isfinite(value) else str(value)
        case int():
            return str(value)
        case str():
            return _quoted(value)
        case Mapping():
            return "{" + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + "}"
        case _:
            return "[" + ", ".join(map(_value, value)) + "]"


def _key(key: str) -> str:
    is_bare = key.isascii() and key.replace("-", "_").isidentifier() and not key[0].isdigit()
    return key if is_bare else _quoted(key)


def _quoted(text: str) -> str:
    return '"' + "".join(map(_character, text)) + '"'


def _character(character: str) -> str:
    if character in _ESCAPED:
        return _ESCAPED[character]
    number = ord(character)
    return f"\\u{number:04x}" if number < _FIRST_PRINTABLE or number == _DELETE else character
