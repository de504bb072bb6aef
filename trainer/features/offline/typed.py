"""Turns the raw columns of a source into rows of a view: keys, the moment of the event, when it was known, features.

Every refusal names the source, the row (counted from 0) and the column. This module reads nothing.
"""

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from trainer.errors import DataError
from trainer.features.columns import MISSING_TEXTS
from trainer.features.offline.moments import STORED, moments, stored
from trainer.features.offline.series import EVENT, KNOWN
from trainer.features.views.view import FeatureView

_ARROW: Final[dict[str, Any]] = {"float": pa.float64(), "int": pa.int64(), "text": pa.string(), "bool": pa.bool_()}


def schema_of(view: FeatureView) -> Any:  # noqa: ANN401 - Arrow ships no types
    """Return the Arrow schema of a view's rows: keys, `EVENT`, `KNOWN`, features."""
    keys = [(entity.key, _ARROW[entity.dtype]) for entity in view.entities]
    features = [(feature.name, _ARROW[feature.dtype]) for feature in view.features]
    return pa.schema([*keys, (EVENT, STORED), (KNOWN, STORED), *features])


def typed_rows(raw: Any, view: FeatureView, where: str) -> Any:  # noqa: ANN401
    """Return the rows of a raw table as `schema_of` says.

    Raises:
        DataError: a column is missing, a key or a time has no value, or a value is not what the view declares.
    """
    source, schema = view.source, schema_of(view)
    needed = [*view.keys, source.timestamp, *((source.known,) if source.known else ())]
    missing = [name for name in (*needed, *(feature.name for feature in view.features)) if name not in raw.column_names]
    if missing:
        raise DataError(
            f"{where}: there is no column {missing[0]!r}, which view {view.name!r} declares; "
            f"the columns are: {', '.join(raw.column_names)[:300]}"
        )
    columns = {key: typed_key(raw.column(key), schema.field(key).type, f"{where}: column {key!r}") for key in view.keys}

    def time(column: str) -> Any:  # noqa: ANN401
        place = f"{where}: column {column!r}"
        return stored(moments(raw.column(column), place, zone=source.zone, dst=source.dst, epoch=source.epoch))

    columns[EVENT] = time(source.timestamp)
    columns[KNOWN] = columns[EVENT] if source.known is None else time(source.known)
    for feature in view.features:
        kind = schema.field(feature.name).type
        columns[feature.name] = _cast(raw.column(feature.name), kind, f"{where}: column {feature.name!r}")
    return pa.table(columns, schema=schema)


def typed_key(raw: Any, kind: Any, where: str) -> Any:  # noqa: ANN401
    """Return a column of keys, none missing; raise DataError."""
    found = _cast(raw, kind, where)
    if found.null_count:
        row = pc.index(pc.is_null(found), value=True).as_py()
        raise DataError(f"{where}: row {row}: no key ({found.null_count} such rows); fill it, or drop the rows")
    return found


def _cast(raw: Any, kind: Any, where: str) -> Any:  # noqa: ANN401
    if isinstance(raw, pa.ChunkedArray):
        raw = raw.combine_chunks()
    if pa.types.is_dictionary(raw.type):
        raw = raw.dictionary_decode()
    if pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type):
        raw = pc.utf8_trim_whitespace(raw)
        raw = pc.if_else(pc.is_in(raw, value_set=pa.array(MISSING_TEXTS, type=raw.type)), None, raw)
    if pa.types.is_floating(raw.type):
        # pandas writes missing whole numbers so.
        raw = pc.if_else(pc.is_nan(raw), None, raw)
        if kind == pa.string() and pc.all(pc.equal(raw, pc.floor(raw))).as_py():
            raw = pc.cast(raw, pa.int64())
    try:
        return pc.cast(raw, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        for row in range(len(raw)):
            try:
                pc.cast(raw.slice(row, 1), kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise DataError(
                    f"{where}: row {row}: {raw[row].as_py()!r} is not {kind}, which the view declares; mend it or "
                    "leave it empty"
                ) from error
        raise DataError(f"{where}: {error}") from error
