"""The fleet's samples, and its labels with their samples, as the tables that feature views read.

What a number of a sample means is said by the manifest of the bundle that scored it; rows of one that is not known
here are left out, and so are those of bundles without the view's features.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pyarrow as pa
from sqlalchemy import Row, select

from broker.messages import BundleRef
from edge_agent.bundle import Feature, Manifest
from trainer.errors import DataError
from trainer.features.views.view import FeatureView, FleetTable
from trainer.monitoring.store import Store
from trainer.monitoring.tables import LABELS, SAMPLES

_ROWS_AT_ONCE: Final = 20_000
_FEATURES: Final = msgspec.msgpack.Decoder(tuple[float | None, ...])
_SAMPLE: Final = (
    *("device", "prediction_id", "bundle", "version", "scored_at", "received_at"),
    *("prediction", "confidence", "agrees", "reason"),
)
_LABEL: Final = ("label", "label_value", "known_at", "label_source")


def fleet_rows(
    store: Store, table: FleetTable, view: FeatureView, manifest_of: Callable[[BundleRef], Manifest | None]
) -> Iterator[tuple[str, Any]]:
    """Return the rows that devices sent as raw Arrow tables, each with its name for messages.

    Their columns are those of a sample (device, prediction_id, bundle, version, scored_at, received_at, prediction,
    confidence, agrees, reason), the features of its bundle by their names, and with labels: label, label_value,
    known_at, label_source.

    Args:
        store: the fleet's database.
        table: samples, or only those with a label.
        view: whose features are wanted.
        manifest_of: finds the manifest of a bundle; rows of one that is not known here are left out.

    Raises:
        DataError: the view wants a column that neither these tables nor any known bundle has.
    """
    known = (*_SAMPLE, *(_LABEL if table == "labels" else ()))
    source = view.source
    wanted = (*view.keys, source.timestamp, *((source.known,) if source.known else ()))
    odd = [name for name in wanted if name not in known]
    if odd:
        raise DataError(
            f"the fleet's {table}: there is no column {odd[0]!r} for keys and times of view {view.name!r}; "
            f"there are: {', '.join(known)}"
        )
    columns = [feature.name for feature in view.features if feature.name not in known]
    query = select(SAMPLES)
    if table == "labels":
        is_of = (SAMPLES.c.device == LABELS.c.device) & (SAMPLES.c.prediction_id == LABELS.c.prediction_id)
        query = select(SAMPLES, *(LABELS.c[name] for name in ("label_text", "label_value", "known_utc_s", "source")))
        query = query.join(LABELS, is_of)
    manifests: dict[BundleRef, Manifest | None] = {}
    with store.reading() as connection:
        result = connection.execute(query.order_by(SAMPLES.c.id).execution_options(yield_per=_ROWS_AT_ONCE))
        for part in result.partitions():
            rows = []
            for row in part:
                ref = BundleRef(row.bundle, row.version)
                if ref not in manifests:
                    manifests[ref] = manifest_of(ref)
                values = _values(row, manifests[ref], columns)
                if values is not None:
                    rows.append((*_sample(row), *(_label(row) if table == "labels" else ()), *values))
            yield f"the fleet's {table}", _table(rows, (*known, *columns))


def _sample(row: Row[Any]) -> tuple[Any, ...]:
    return (
        *(row.device, row.prediction_id, row.bundle, row.version, _moment(row.scored_utc_s)),
        *(_moment(row.received_utc_s), row.prediction, row.confidence, row.agrees, row.reason),
    )


def _label(row: Row[Any]) -> tuple[Any, ...]:
    return row.label_text, row.label_value, _moment(row.known_utc_s), row.source


def _values(row: Row[Any], manifest: Manifest | None, columns: Sequence[str]) -> tuple[Any, ...] | None:
    """Return the values of a sample's features by name; None: its bundle is not known, or is another than it says."""
    if not columns:
        return ()
    if manifest is None:
        return None
    values = _FEATURES.decode(row.features)
    if len(values) != len(manifest.features):
        return None
    found = {f.name: _named(value, f) for value, f in zip(values, manifest.features, strict=True)}
    return tuple(found[name] for name in columns) if all(name in found for name in columns) else None


def _named(value: float | None, feature: Feature) -> float | str | None:
    if value is None or feature.dtype != "category":
        return value
    return feature.categories[int(value)] if 0 <= value < len(feature.categories) else None


def _moment(utc_s: float) -> datetime:
    return datetime.fromtimestamp(utc_s, UTC)


def _table(rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> Any:  # noqa: ANN401 - Arrow ships no types
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    table = pa.table({name: pa.array(column) for name, column in zip(names, columns, strict=True)})
    if not rows:
        # An empty column has no type of its own.
        times = {"scored_at", "received_at", "known_at"}
        kinds = [(name, pa.timestamp("us", "UTC") if name in times else pa.string()) for name in names]
        table = pa.schema(kinds).empty_table()
    return table
