"""Reads a TOML file into a typed value, and refuses what it does not know, naming the nearest key that it does."""

import tomllib
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

# A settings file is a page or two; what is larger is another file.
MAX_BYTES: Final = 1 << 20
# Of a key that nobody knows, so much is shown, and compared with those that are known.
_SHOWN_CHARACTERS: Final = 80

StructT = TypeVar("StructT", bound=msgspec.Struct)


class ConfigurationError(Exception):
    """A configuration file cannot be used; the message says which key, in which file, and what to do."""


def load_toml(path: Path, into: type[StructT]) -> StructT:
    """Read ``path`` as a value of type ``into``; raise ConfigurationError as `parse_toml` does, or if unreadable."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise ConfigurationError(msg) from error
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{path}: larger than {MAX_BYTES} bytes; is it a settings file?")
    return parse_toml(data, into, str(path))


def parse_toml(data: bytes, into: type[StructT], where: str) -> StructT:
    """Read TOML text as a value of type ``into``.

    Raises:
        ConfigurationError: not TOML, or unknown or missing keys, or values of the wrong type or out of range: each is
            named on a line of its own.
    """
    try:
        raw = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{where}: not a TOML file: {error}"
        raise ConfigurationError(msg) from error
    except RecursionError as error:
        raise ConfigurationError(f"{where}: tables or arrays are nested too deeply") from error
    try:
        value = msgspec.convert(raw, into)
        if not _has_unknown(raw, value):
            return value
    except msgspec.ValidationError:
        # What is wrong is looked for one by one: to name every problem takes longer than to find that there is none.
        pass
    problems = list(_problems_in(raw, into, ""))
    if problems:
        raise ConfigurationError("\n".join(f"{where}: {problem}" for problem in problems))
    try:
        return msgspec.convert(raw, into)
    except msgspec.ValidationError as error:
        msg = f"{where}: {_in_toml_words(str(error))}"
        raise ConfigurationError(msg) from error


def _has_unknown(raw: object, value: object) -> bool:
    """Tell whether a table holds a key that its struct does not know, at any depth."""
    if isinstance(value, msgspec.Struct) and isinstance(raw, dict):
        names = dict(zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True))
        return any(key not in names or _has_unknown(each, getattr(value, names[key])) for key, each in raw.items())
    if isinstance(value, (tuple, list)) and isinstance(raw, list):
        return any(map(_has_unknown, raw, value))
    return False


def _problems_in(raw: dict[str, Any], struct: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    known = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key, value in raw.items():
        if key in known:
            yield from _problems_of(value, known[key].type, f"{prefix}{key}")
            continue
        shown = key[:_SHOWN_CHARACTERS]
        yield f"unknown key {prefix + shown!r}; {_hint(shown, sorted(known), prefix)}"
    for name, field in known.items():
        if field.required and name not in raw:
            yield f"missing required field `{prefix}{name}`"


def _problems_of(value: object, into: Any, key: str) -> Iterator[str]:  # noqa: ANN401 - a type expression
    struct = _struct_in(into)
    if struct is not None and isinstance(value, dict):
        yield from _problems_in(value, struct, f"{key}.")
    elif struct is not None and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _problems_of(item, struct, f"{key}[{index}]")
    else:
        try:
            msgspec.convert(value, into)
        except msgspec.ValidationError as error:
            if isinstance(value, str) and typing.get_origin(into) is typing.Literal:
                shown = value[:_SHOWN_CHARACTERS]
                yield f"key {key!r}: unknown value {shown!r}; {_hint(shown, typing.get_args(into))}"
                return
            text, _, path = str(error).partition(" - at `$")
            yield f"key {key + path.rstrip('`')!r}: {text[0].lower()}{text[1:]}"


def _hint(shown: str, known: Sequence[str], prefix: str = "") -> str:
    """Name the known word that a wrong one is nearest to; all of them where none is near."""
    import difflib  # noqa: PLC0415 - for mistakes only

    nearest = difflib.get_close_matches(shown, known, n=1, cutoff=0.5)
    return f"did you mean {prefix + nearest[0]!r}?" if nearest else f"known here: {', '.join(known)}"


def _struct_in(into: Any) -> type[msgspec.Struct] | None:  # noqa: ANN401 - a type expression
    """Return the struct that a type expression holds: itself, in an optional, in a tuple, in Annotated."""
    if isinstance(into, type) and issubclass(into, msgspec.Struct):
        return into
    if typing.get_origin(into) in (typing.Annotated, typing.Union, types.UnionType, tuple, list):
        for argument in typing.get_args(into):
            found = _struct_in(argument)
            if found is not None:
                return found
    return None


def _in_toml_words(message: str) -> str:
    """Turn msgspec's JSON path (``at `$.a.b```) into a TOML key."""
    text, _, path = message.partition(" - at `$.")
    return f"key {path.rstrip('`')!r}: {text[0].lower()}{text[1:]}" if path else text
