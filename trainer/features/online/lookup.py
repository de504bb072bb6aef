"""What an online store must do, and the look-up of an entity's features in it.

A store keeps one row of each view and entity, the one with the newest event, and how far the view was brought there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from edge_agent.clock import Clock
from trainer.errors import DataError
from trainer.features.views.view import FeatureView

Value = float | int | str | bool | None
_US_PER_S: Final = 1_000_000
_ENCODER: Final = msgspec.msgpack.Encoder()
_VALUES: Final = msgspec.msgpack.Decoder(dict[str, Value])
_JSON: Final = msgspec.json.Encoder()


class OnlineRow(msgspec.Struct, frozen=True, gc=False):
    """The row of an entity.

    Attributes:
        key: of the entity, as `key_text` writes it.
        event_us: microseconds since 1970; of two rows the later one stays.
        known_us: of two of the same event the one known later stays, then the one of the later `part`.
        part: the push that it came with.
        values: as `values_bytes` writes them.
    """

    key: str
    event_us: int
    known_us: int
    part: int
    values: bytes


class Progress(msgspec.Struct, frozen=True):
    """How far a view was brought online.

    Attributes:
        done_us: what was available at this moment is there; 0: nothing was.
        done_parts: the pushes that are there. All, not the last alone: the file of an earlier one may come later.
        goal_us: what is under way; 0: nothing is.
        goal_parts: the pushes that will be.
        after: the key up to which it is there.
    """

    done_us: int = 0
    done_parts: tuple[int, ...] = ()
    goal_us: int = 0
    goal_parts: tuple[int, ...] = ()
    after: str = ""


class OnlineStore(Protocol):
    """Keeps the newest row of each entity."""

    def put(self, view: str, rows: Sequence[OnlineRow], progress: Progress) -> None:
        """Keep rows, except where a newer one is there, and how far that is: both or neither."""
        ...

    def progress(self, view: str) -> Progress:
        """Return how far a view is."""
        ...

    def find(self, view: str, key: str) -> tuple[int, bytes] | None:
        """Return time of event and values of an entity; None: it has no row."""
        ...

    def find_many(self, view: str, keys: Sequence[str]) -> Mapping[str, tuple[int, bytes]]:
        """Return the same of several entities at once, by key; those without a row are left out."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """Features of an entity.

    Attributes:
        values: of each feature of the view; None: it has none, or it is too old.
        event_utc_s: when it happened, UTC seconds since 1970; None: nothing is known of the entity.
        is_valid: whether it is within its ttl.
    """

    values: Mapping[str, Value]
    event_utc_s: float | None
    is_valid: bool


class Lookup:
    """Finds the features of one view by the key of its entities; used by several threads."""

    def __init__(self, store: OnlineStore, view: FeatureView, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._ttl_us = None if view.ttl_s is None else round(view.ttl_s * _US_PER_S)
        self._names = tuple(feature.name for feature in view.features)
        self._kinds = tuple(str if entity.dtype == "text" else int for entity in view.entities)

    def find(self, *key: str | int) -> Found:
        """Return the features of an entity, given its keys in the order of the view.

        Raises:
            DataError: not as many keys as the view has, or of another type; or the store is away.
        """
        self._verify(key)
        return self._found(self._store.find(self._view.name, key_text(key)))

    def find_many(self, keys: Sequence[Sequence[str | int]]) -> list[Found]:
        """Return the features of several entities, in their order; a key that comes again is asked for once.

        Raises:
            DataError: as `find`.
        """
        for key in keys:
            self._verify(key)
        texts = [key_text(key) for key in keys]
        there = self._store.find_many(self._view.name, list(dict.fromkeys(texts)))
        found = {text: self._found(there.get(text)) for text in dict.fromkeys(texts)}
        return [found[text] for text in texts]

    def _verify(self, key: Sequence[str | int]) -> None:
        if len(key) != len(self._kinds) or any(map(_is_other, key, self._kinds)):
            raise DataError(
                f"view {self._view.name!r} is asked by its keys, not by {tuple(key)!r}; they are: "
                f"{', '.join(f'{entity.key} ({entity.dtype})' for entity in self._view.entities)}"
            )

    def _found(self, row: tuple[int, bytes] | None) -> Found:
        if row is None:
            return Found(dict.fromkeys(self._names), None, is_valid=False)
        event_us, values = row
        age_us = self._clock.utc_s() * _US_PER_S - event_us
        if self._ttl_us is not None and age_us > self._ttl_us:
            return Found(dict.fromkeys(self._names), event_us / _US_PER_S, is_valid=False)
        stored = _VALUES.decode(values)
        return Found({name: stored.get(name) for name in self._names}, event_us / _US_PER_S, is_valid=True)


def key_text(key: Sequence[str | int]) -> str:
    """Return a key as one text: ``["m1",7]``."""
    return _JSON.encode(key).decode()


def values_bytes(values: Mapping[str, Value]) -> bytes:
    """Return values as a store keeps them: by their names, so that a view may get more of them."""
    return _ENCODER.encode(values)


def _is_other(part: object, kind: type) -> bool:
    return type(part) is not kind
