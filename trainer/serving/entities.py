"""Completes rows that name an entity: features that a request does not bring are looked up online by its keys.

What is not there, or is older than its ttl, is a missing value, and the model's own rules say what becomes of a row
with one: refused, with the reason that stands beside it here, or scored. A value that a request brings is never
replaced.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from edge_agent.bundle import Manifest
from edge_agent.clock import Clock
from edge_agent.scoring.schema import RawRow, RawValue
from edge_agent.sensing.http_message import HttpError
from trainer.errors import DataError
from trainer.features.online.lookup import Found, Value
from trainer.features.views.view import Entity, FeatureView
from trainer.serving.asked_views import AskedView
from trainer.serving.errors import ServingError
from trainer.serving.limits import BusyError

# Rows of different requests that are looked up at once; it is a store far away that takes time.
N_THREADS: Final = 8
_DATATYPES: Final = {"text": "BYTES", "int": "INT64"}
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0

Columns = Mapping[str, Sequence[RawValue]]


class StoreAwayError(BusyError):
    """The online store cannot be asked now."""


@dataclass(frozen=True, slots=True)
class Completed:
    """Rows that have a value of each feature, or none.

    Attributes:
        rows: ``(n_rows, n_features)``.
        reasons: ``(n_rows,)`` why values that were looked up are missing; empty: none is.
        counts: of entities, by view and ``found``, ``stale`` or ``unknown``.
    """

    rows: Sequence[RawRow]
    reasons: tuple[str, ...]
    counts: Mapping[tuple[str, str], int]


class EntityFeatures:
    """The views of one service; used by any thread.

    Attributes:
        views: that are looked up.
        keys: columns by which a row may name its entities.
        threads: look up.
    """

    def __init__(self, views: Sequence[AskedView], clock: Clock, close: Callable[[], None] = lambda: None) -> None:
        """Take views.

        Args:
            views: whose features are looked up.
            clock: UTC, to say how old a row is.
            close: closes the store.

        Raises:
            ServingError: two of them have a feature of the same name.
        """
        self.views = tuple(views)
        self.keys = frozenset(key for each in views for key in each.view.keys)
        self.threads = ThreadPoolExecutor(N_THREADS, "features")
        self._clock = clock
        self._close = close
        taken: dict[str, str] = {}
        for each in views:
            for name in each.names:
                if name in taken:
                    raise ServingError(
                        f"feature {name!r} is looked up in view {taken[name]!r} and in {each.view.name!r}; "
                        f"name the features of one of them: --look-up {each.view.name}:FEATURE"
                    )
                taken[name] = each.view.name

    def close(self) -> None:
        """End the threads, and close the store."""
        self.threads.shutdown()
        self._close()

    def verify(self, manifest: Manifest) -> None:
        """Raise ServingError where what is looked up is not what a model takes."""
        if manifest.inputs.signal is not None:
            raise ServingError(f"{manifest.ref} takes windows of raw readings, which are not looked up")
        features = {feature.name: feature for feature in manifest.features}
        for each in self.views:
            units = {feature.name: feature.unit for feature in each.view.features}
            if not features.keys() & set(each.names):
                raise ServingError(
                    f"view {each.view.name!r} has no feature of {manifest.ref}, which takes {', '.join(features)}"
                )
            for name in features.keys() & set(each.names):
                wanted, there = features[name].unit, units[name]
                if wanted and there and wanted != there:
                    raise ServingError(
                        f"feature {name!r} is in {there} in view {each.view.name!r}, {manifest.ref} takes {wanted}"
                    )

    def about(self, manifest: Manifest) -> list[dict[str, object]]:
        """Return what a client is told: of each view its keys, as inputs, and the features of a model that it gives."""
        features = [feature.name for feature in manifest.features]
        return [
            {
                "view": each.view.name,
                "keys": [{"name": key.key, "datatype": _DATATYPES[key.dtype]} for key in each.view.entities],
                "features": [name for name in features if name in each.names],
                "ttl_s": each.view.ttl_s,
            }
            for each in self.views
        ]

    def are_named(self, names: Iterable[str]) -> bool:
        """Tell whether a row of these columns names an entity."""
        return not self.keys.isdisjoint(names)

    def complete(self, columns: Columns, n_rows: int, features: Sequence[str]) -> Completed:
        """Return rows of ``features``, those that are not there looked up.

        Args:
            columns: ``(n_rows,)`` by name: keys, and what features the request brings.
            n_rows: how many rows.
            features: ``(n_features,)`` of the model, in its order.

        Raises:
            HttpError: a column is neither a key nor a feature, a feature cannot be looked up by these keys, or a key is
                of another type; StoreAwayError where the store cannot be asked.
        """
        unknown = [name for name in columns if name not in features and name not in self.keys]
        if unknown:
            raise _bad(f"input {unknown[0]!r} is no feature of the model, and no key of {self._told()}")
        whole = {name: columns[name] for name in features if name in columns}
        reasons: list[list[str]] = [[] for _ in range(n_rows)]
        counts: dict[tuple[str, str], int] = {}
        for each in self.views:
            names = [name for name in each.names if name in features and name not in columns]
            if names and all(key in columns for key in each.view.keys):
                found = self._found(each, columns, n_rows, reasons, counts)
                for name in names:
                    whole[name] = [None if row is None else _raw(row.values[name]) for row in found]
        missing = [name for name in features if name not in whole]
        if missing:
            raise _bad(self._how_to_give(missing[0]))
        rows = list(zip(*(whole[name] for name in features), strict=True))
        return Completed(rows, tuple("; ".join(row) for row in reasons), counts)

    def _found(
        self,
        asked: AskedView,
        columns: Columns,
        n_rows: int,
        reasons: Sequence[list[str]],
        counts: dict[tuple[str, str], int],
    ) -> list[Found | None]:
        view = asked.view
        parts = [_keys_of(entity, columns[entity.key]) for entity in view.entities]
        keys = list(zip(*parts, strict=True))
        whole = [tuple(part for part in key if part is not None) for key in keys]
        named = [place for place, key in enumerate(whole) if len(key) == len(parts)]
        try:
            there = asked.lookup.find_many([whole[place] for place in named])
        except DataError as error:
            raise StoreAwayError(HTTPStatus.SERVICE_UNAVAILABLE, f"view {view.name!r}: {error}") from error
        found: list[Found | None] = [None] * n_rows
        for place, row in zip(named, there, strict=True):
            found[place] = row
        for place, (key, each) in enumerate(zip(keys, found, strict=True)):
            outcome, reason = self._judged(view, key, each)
            counts[view.name, outcome] = counts.get((view.name, outcome), 0) + 1
            if reason:
                reasons[place].append(reason)
        return found

    def _judged(self, view: FeatureView, key: Sequence[object], found: Found | None) -> tuple[str, str]:
        """Return what came of a look-up, and how a client is told of it."""
        if found is None:
            lacking = next(name for name, part in zip(view.keys, key, strict=True) if part is None)
            return "unknown", f"the row has no {lacking}, by which view {view.name!r} is asked"
        if found.is_valid:
            return "found", ""
        who = ", ".join(f"{name} {str(part)[:80]!r}" for name, part in zip(view.keys, key, strict=True))
        if found.event_utc_s is None or view.ttl_s is None:
            return "unknown", f"view {view.name!r} knows no {who}"
        age_s = self._clock.utc_s() - found.event_utc_s
        return "stale", (
            f"what view {view.name!r} knows of {who} is {_spoken(age_s)} old, and valid for {_spoken(view.ttl_s)}"
        )

    def _how_to_give(self, feature: str) -> str:
        view = next((each.view for each in self.views if feature in each.names), None)
        if view is None:
            return f"no input {feature!r}, and no view that is looked up has it; send it as a tensor"
        return f"no input {feature!r}; send it as a tensor, or {' and '.join(view.keys)}: view {view.name!r} has it"

    def _told(self) -> str:
        return ", ".join(f"view {each.view.name!r}" for each in self.views)


def _keys_of(entity: Entity, column: Sequence[RawValue]) -> list[str | int | None]:
    kind = str if entity.dtype == "text" else int
    return [_key(entity, value, kind) for value in column]


def _key(entity: Entity, value: RawValue, kind: type) -> str | int | None:
    if value is None:
        return None
    if type(value) is kind and isinstance(value, str | int):
        return value
    raise _bad(f"input {entity.key!r}: {str(value)[:40]!r} is no {entity.dtype}; send it as {_DATATYPES[entity.dtype]}")


def _raw(value: Value) -> RawValue:
    # As rows of JSON have them: true and false are words.
    return str(value).lower() if isinstance(value, bool) else value


def _spoken(seconds: float) -> str:
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.1f} h"


def _bad(message: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, message)
