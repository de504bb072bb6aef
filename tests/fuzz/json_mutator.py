"""Changes one part of a JSON document, so that what is behind the parser of JSON gets fuzzed too."""

import random
from typing import Any, Final

import msgspec

_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 1, 2**31, 2**53, 2**64, 0.0, -0.5, 1e-300, 1.7e308, 5e-324),
    *("", "a", "../a", "a/b", "\n", "\u202e", "x" * 65, "x" * 300, "float32", "category", "manifest.json"),
    *([], {}, [[]], [0.0] * 3, [1] * 1025),
)


def mutate_json(data: bytes, max_bytes: int, seed: int) -> bytes | None:
    """Return a document with one part replaced, removed, repeated or moved; None for what is no document."""
    chance = random.Random(seed)
    try:
        document = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    places = list(_places_of(document))
    if not places:
        return None
    parent, key = chance.choice(places)
    match chance.randrange(4):
        case 0:
            parent[key] = chance.choice(_VALUES)
        case 1:
            other, other_key = chance.choice(places)
            parent[key] = other[other_key]
        case 2 if isinstance(parent, list):
            parent[key:key] = [parent[key]] * chance.randrange(1, 4)
        case _:
            del parent[key]
    try:
        changed = msgspec.json.encode(document)
    except (RecursionError, ValueError):
        return None
    return changed if len(changed) <= max_bytes else None


def _places_of(document: Any) -> list[tuple[Any, Any]]:
    """List every (container, key) of a document."""
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        container = waiting.pop()
        if isinstance(container, dict | list):
            keys = list(container) if isinstance(container, dict) else range(len(container))
            places += [(container, key) for key in keys]
            waiting += [container[key] for key in keys]
    return places
