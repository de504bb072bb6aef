"""Tries views on a few rows of their sources, in a store of their own: are they what is declared, and known in time?"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from edge_agent.clock import Clock
from trainer.errors import DataError
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.offline.moments import MOMENT
from trainer.features.offline.series import EVENT, KNOWN
from trainer.features.offline.typed import typed_rows
from trainer.features.views.view import FeatureView

# Times are kept to the microsecond.
_LEAST: Final = timedelta(microseconds=1)
# No column of a view is named so.
_ASKED: Final = "__asked"


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a try.

    Attributes:
        rows: that were read.
        beyond: values beyond the declared range, by feature; only those that have some.
    """

    view: str
    rows: int
    beyond: tuple[tuple[str, int], ...]


def try_view(view: FeatureView, tables: Iterable[tuple[str, Any]], rows: int, clock: Clock) -> Tried:
    """Bring the first rows of a view's source into a store of their own, and ask for them as training would.

    Args:
        view: the declaration.
        tables: raw Arrow tables of its source, each with its name for messages.
        rows: so many are tried at most.
        clock: tells the time.

    Raises:
        DataError: the source has no rows, a row is not what the view declares, or what is given out for a time is not
            what was known then.
    """
    where, raw = next(iter(tables), ("", None))
    if raw is None or raw.num_rows == 0:
        raise DataError(f"view {view.name!r}: its source has no rows to try it on")
    given = typed_rows(raw.slice(0, rows), view, where)
    with tempfile.TemporaryDirectory(prefix="fieldloop-try-") as folder:
        store = FeatureStore(folder, clock)
        store.catalogue.register(view)
        store.push(view.name, [(where, raw.slice(0, rows))])
        _verify_times(store, view, given, where)
    return Tried(view.name, given.num_rows, tuple(_beyond(view, given)))


def _verify_times(store: FeatureStore, view: FeatureView, given: Any, where: str) -> None:  # noqa: ANN401 - Arrow's
    """Ask about each row as soon as it was there, and a microsecond before; hold it against the plain rule."""
    rows = given.to_pylist()
    there = [max(row[EVENT], row[KNOWN]) for row in rows]
    asked = [(row, at - early) for early in (timedelta(0), _LEAST) for row, at in zip(rows, there, strict=True)]
    keys = {key: pa.array([row[key] for row, _ in asked], given.schema.field(key).type) for key in view.keys}
    times = pa.array([at.replace(tzinfo=UTC) for _, at in asked], MOMENT)
    found = store.extract(pa.table({**keys, _ASKED: times}), [view.name], time=_ASKED)
    names = [feature.name for feature in view.features]
    answers = found.select(found.column_names[-len(names) :]).to_pylist()
    for (row, at), answer in zip(asked, answers, strict=True):
        known = _known_at(rows, there, [row[key] for key in view.keys], at, view)
        if list(answer.values()) != [None if known is None else known[name] for name in names]:
            keys_text = ", ".join(f"{key} {row[key]}" for key in view.keys)
            raise DataError(
                f"{where}: view {view.name!r} gives out of {keys_text} at {at} UTC what was not known then: {answer}"
            )


def _known_at(
    rows: list[dict[str, Any]], there: list[datetime], keys: list[Any], at: datetime, view: FeatureView
) -> dict[str, Any] | None:
    """Return the row of the newest event that was known at a time, and still valid: the plain rule."""
    known = [
        (row[EVENT], row[KNOWN], number)
        for number, row in enumerate(rows)
        if there[number] <= at and [row[key] for key in view.keys] == keys
    ]
    if not known:
        return None
    event, _, number = max(known)
    is_valid = view.ttl_s is None or at - event <= timedelta(seconds=view.ttl_s)
    return rows[number] if is_valid else None


def _beyond(view: FeatureView, given: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401 - Arrow's
    for feature in view.features:
        if feature.range is not None:
            least, greatest = feature.range
            values = given.column(feature.name)
            count = pc.sum(pc.or_(pc.less(values, least), pc.greater(values, greatest))).as_py() or 0
            if count:
                yield feature.name, int(count)
