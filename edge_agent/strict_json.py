"""Refuses JSON that two readers could take for two things, or whose nesting or number of values is beyond a limit.

The typed decoder that comes after it takes the last of two equal keys, skips what it does not know without a look, and
checks the length of a list when the list is built.
"""

import math
import re
from typing import Final

from edge_agent.errors import BundleError

_BOM: Final = b"\xef\xbb\xbf"
# A string, which may hold brackets, or a bracket. Possessive: a hostile string must not pile up places to go back to.
_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_STEPS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


def verify_json(data: bytes, what: str, *, max_depth: int, max_values: int) -> None:
    """Check that bytes are one JSON document that every reader takes for the same.

    Args:
        data: the document; its length was checked before.
        what: names it in errors.
        max_depth: of objects and lists inside each other.
        max_values: of all lists and objects together.

    Raises:
        BundleError: not UTF-8, not JSON, a key that an object names twice, a number that is not finite, or too much.
    """
    # The order is the safety property: each step costs no more than the one before it allows.
    # 1. By counting bytes: every value but the first follows a comma.
    if data.startswith(_BOM):
        raise BundleError(f"{what}: begins with a byte order mark; write UTF-8 without one")
    n_commas = data.count(b",")
    if n_commas >= max_values:
        raise BundleError(f"{what}: {n_commas} commas; at most {max_values} values are allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{what}: byte {error.start} is not UTF-8") from error
    # 2. By looking at brackets: what is nested too deep is never entered.
    _verify_depth(text, what, max_depth)
    # 3. By parsing; nothing of the result is kept.
    import json  # noqa: PLC0415 - a start reads nothing that was not checked before

    try:
        json.loads(
            text,
            object_pairs_hook=_refuse_twins,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{what}: {error}") from error


def _verify_depth(text: str, what: str, max_depth: int) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += _STEPS.get(token[0], 0)
        if depth > max_depth:
            raise BundleError(f"{what}: nested more than {max_depth} deep at character {token.start()}")


def _refuse_twins(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"an object names the key {name[:64]!r} twice")
        seen.add(name)


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:32]} is too large")
    return number
