"""Writes values as TOML."""

import json
from collections.abc import Mapping


def toml_of(value: object) -> str:
    """Return a value as TOML on one line: text, numbers, booleans, lists and tables of them.

    Raises:
        TypeError: TOML has no such value, or nothing here needs it.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's; but JSON leaves the control character DEL as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(toml_of(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{toml_of(key)} = {toml_of(item)}' for key, item in value.items())}}}"
    raise TypeError(f"{value!r} has no form in TOML")
