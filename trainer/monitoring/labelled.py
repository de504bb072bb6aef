"""Chooses the fleet's labelled rows that a training run may see.

Never a row that was scored after "now", never one whose truth was not known by then, never one without a label, and
never one that does not suit the bundle's features and labels: one device's rubbish must not break the run for all.
"""

from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from sqlalchemy import Row, select

from broker.messages import BundleRef
from edge_agent.bundle import Feature, Manifest
from trainer.features.store import LabelledRow
from trainer.monitoring.outcomes import label_name
from trainer.monitoring.store import Store
from trainer.monitoring.tables import LABELS, SAMPLES

_FEATURES = msgspec.msgpack.Decoder(tuple[float | None, ...])
# The model's inputs are float32: a greater number would become infinite.
_MAX_VALUE = float(np.finfo(np.float32).max)


class LabelledRows(Struct, frozen=True):
    """Rows for the feature store, in the order in which their samples arrived, and how many did not suit."""

    rows: tuple[LabelledRow, ...]
    unsuitable: int


def labelled_rows(
    store: Store, manifest: Manifest, *, now_utc_s: float, scored_since_utc_s: float | None = None
) -> LabelledRows:
    """Return the labelled rows of all versions of a bundle.

    Args:
        store: to read from.
        manifest: whose features and labels rows must suit.
        now_utc_s: rows scored, received or known after it are left out, even if a device's clock is ahead.
        scored_since_utc_s: rows scored before it are left out.
    """
    query = (
        select(SAMPLES, LABELS.c.label_text, LABELS.c.label_value, LABELS.c.known_utc_s)
        .join(LABELS, (SAMPLES.c.device == LABELS.c.device) & (SAMPLES.c.prediction_id == LABELS.c.prediction_id))
        .where(
            SAMPLES.c.bundle == manifest.name,
            SAMPLES.c.scored_utc_s <= now_utc_s,
            SAMPLES.c.received_utc_s <= now_utc_s,
            LABELS.c.known_utc_s <= now_utc_s,
            LABELS.c.received_utc_s <= now_utc_s,
        )
        .order_by(SAMPLES.c.id)
    )
    if scored_since_utc_s is not None:
        query = query.where(SAMPLES.c.scored_utc_s >= scored_since_utc_s)
    with store.reading() as connection:
        found = [_labelled_row(row, manifest) for row in connection.execute(query)]
    rows = tuple(row for row in found if _suits(row, manifest))
    return LabelledRows(rows, len(found) - len(rows))


def _labelled_row(row: Row[Any], manifest: Manifest) -> LabelledRow:
    label: str | float = row.label_text if row.label_text is not None else row.label_value
    # Devices name their predictions after themselves; a name that does not say so could be another device's.
    is_own = row.prediction_id.startswith(f"{row.device}.")
    return LabelledRow(
        prediction_id=row.prediction_id if is_own else f"{row.device}/{row.prediction_id}",
        device=row.device,
        bundle=str(BundleRef(row.bundle, row.version)),
        features=_FEATURES.decode(row.features),
        label=label_name(label) if manifest.task == "classification" else label,
        scored_utc_s=row.scored_utc_s,
        known_utc_s=row.known_utc_s,
        reason=row.reason,
    )


def _suits(row: LabelledRow, manifest: Manifest) -> bool:
    if len(row.features) != len(manifest.features):
        return False
    if not all(_value_suits(value, f) for value, f in zip(row.features, manifest.features, strict=True)):
        return False
    if manifest.task == "classification":
        return row.label in manifest.labels
    try:
        return abs(float(row.label)) <= _MAX_VALUE
    except ValueError:
        return False


def _value_suits(value: float | None, feature: Feature) -> bool:
    if value is None:
        return True
    if feature.dtype == "category":
        return 0 <= value < len(feature.categories) and value == int(value)
    return abs(value) <= _MAX_VALUE
