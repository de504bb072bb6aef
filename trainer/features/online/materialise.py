"""Brings the newest rows of a view online, only what is new, and goes on where one that was killed had stopped."""

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from edge_agent.clock import Clock
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.offline.rows import part_number
from trainer.features.offline.series import AVAILABLE, EVENT, KNOWN, PART
from trainer.features.online.lookup import OnlineRow, OnlineStore, Progress, key_text, values_bytes
from trainer.features.views.view import FeatureView

BATCH: Final = 5_000
_US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Materialised:
    """What was brought online.

    Attributes:
        rows: of entities, written by this call.
        resumed: whether it went on with one that was killed.
    """

    rows: int
    resumed: bool


def materialise(store: FeatureStore, name: str, online: OnlineStore, clock: Clock, batch: int = BATCH) -> Materialised:
    """Bring a view online: the row of each entity that came, or became available, since the last time.

    What it writes never takes the place of something newer, so that two at once, or one made again, do no harm.

    Raises:
        DataError: no such view, or one of the stores cannot be used.
    """
    view = store.catalogue.find(name).view
    before = online.progress(name)
    parts = tuple(map(part_number, store.rows.parts(name)))
    resumed = before.goal_us > 0 and before.goal_parts == parts
    goal_us = before.goal_us if resumed else int(clock.utc_s() * _US_PER_S)
    rows = _new_rows(store, view, before, goal_us)
    if resumed:
        rows = [row for row in rows if row.key > before.after]
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        online.put(name, some, Progress(before.done_us, before.done_parts, goal_us, parts, some[-1].key))
    online.put(name, (), Progress(goal_us, parts))
    return Materialised(len(rows), resumed)


def _new_rows(store: FeatureStore, view: FeatureView, before: Progress, goal_us: int) -> list[OnlineRow]:
    table = store.newest(view, goal_us)
    pushed = pc.invert(pc.is_in(table.column(PART), value_set=pa.array(before.done_parts, pa.int64())))
    # A row may be stored long before its time.
    table = table.filter(pc.or_(pushed, pc.greater(_numbers(table, AVAILABLE), before.done_us)))
    columns = {name: table.column(name).to_pylist() for name in view.keys}
    keys = [key_text(key) for key in zip(*columns.values(), strict=True)]
    names = [feature.name for feature in view.features]
    values = table.select(names).to_pylist()
    times = (_numbers(table, name).to_pylist() for name in (EVENT, KNOWN, PART))
    rows = [
        OnlineRow(key, event, known, part, values_bytes(found))
        for key, event, known, part, found in zip(keys, *times, values, strict=True)
    ]
    # In an order that another process finds again.
    return sorted(rows, key=lambda row: row.key)


def _numbers(table: Any, name: str) -> Any:  # noqa: ANN401 - Arrow ships no types
    return pc.cast(table.column(name), pa.int64())
