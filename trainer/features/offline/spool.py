"""Rows of a view on their way into the store: all that a source gives, checked, in one file outside of it.

So nothing comes into the store of a source that breaks off half-way, and rows that contradict each other within one
reading are decided once, by the last of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.features.offline.series import ROW
from trainer.features.offline.typed import schema_of, typed_rows
from trainer.features.views.view import FeatureView


@dataclass(frozen=True, slots=True)
class Spooled:
    """So many checked rows of a view, in a Parquet file of this machine: `schema_of` the view, and `ROW`."""

    view: FeatureView
    path: Path
    rows: int


def spool_rows(view: FeatureView, tables: Iterable[tuple[str, Any]], folder: Path) -> Spooled:
    """Write the rows of a source into a folder, table after table.

    Args:
        view: what they are rows of.
        tables: raw Arrow tables with the columns of its source, each with its name for messages.
        folder: which exists, and is the caller's.

    Raises:
        DataError: the source cannot be read, or a row is not what the view declares.
    """
    path, count = folder / f"{view.name}.parquet", 0
    with pq.ParquetWriter(path, schema_of(view).append(pa.field(ROW, pa.int64()))) as writer:
        for where, raw in tables:
            rows = typed_rows(raw, view, where)
            numbers = pa.array(range(count, count + rows.num_rows), pa.int64())
            writer.write_table(rows.append_column(pa.field(ROW, pa.int64()), numbers))
            count += rows.num_rows
    return Spooled(view, path, count)
