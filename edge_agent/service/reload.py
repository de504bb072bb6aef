"""Decides what new settings change, and whether that can be while the agent runs; reads no file."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.settings import AgentSettings

# Who the agent is, where it keeps its state, and where rows come from: rows that were read ahead (from standard input,
# say) would be lost with their source.
FIXED: Final = ("device", "fleet", "state", "source")


class Change(Struct, frozen=True):
    """What differs between two settings.

    Attributes:
        keys: what can be taken while the agent runs, as ``section.key``.
        fixed: what takes a restart.
    """

    keys: tuple[str, ...]
    fixed: tuple[str, ...]


def change_between(old: AgentSettings, new: AgentSettings) -> Change:
    """Name every key whose value differs."""
    keys = tuple(_differing(msgspec.to_builtins(old), msgspec.to_builtins(new), ""))
    fixed = tuple(key for key in keys if key.split(".")[0] in FIXED)
    return Change(tuple(key for key in keys if key not in fixed), fixed)


def _differing(old: Mapping[str, object], new: Mapping[str, object], prefix: str) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        one, other = old.get(key), new.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differing(one, other, f"{prefix}{key}.")
        elif one != other:
            yield prefix + key
