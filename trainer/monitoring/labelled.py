"""Chooses the fleet's labelled rows that a training run may see.

Never a row that was scored after "now", never one whose truth was not known by then, never one without a label, and
never one that does not suit the features and labels of the bundle that scored it: one device's rubbish must not break
the run for all. What a number in a sample means is said by that bundle's manifest alone.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from sqlalchemy import Row, select

from broker.messages import BundleRef
from edge_agent.bundle import Feature, Manifest
from edge_agent.raw_signal import window_text
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
    store: Store,
    bundle: str,
    manifest_of: Callable[[BundleRef], Manifest | None],
    *,
    now_utc_s: float,
    scored_since_utc_s: float | None = None,
) -> LabelledRows:
    """Return the labelled rows of all versions of a bundle.

    Args:
        store: to read from.
        bundle: its name.
        manifest_of: finds the manifest of a version; rows of one that is not known here do not suit.
        now_utc_s: rows scored, received or known after it are left out, even if a device's clock is ahead.
        scored_since_utc_s: rows scored before it are left out.
    """
    query = (
        select(SAMPLES, LABELS.c.label_text, LABELS.c.label_value, LABELS.c.known_utc_s)
        .join(LABELS, (SAMPLES.c.device == LABELS.c.device) & (SAMPLES.c.prediction_id == LABELS.c.prediction_id))
        .where(
            SAMPLES.c.bundle == bundle,
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
        found = connection.execute(query).all()
    manifests = {version: manifest_of(BundleRef(bundle, version)) for version in {row.version for row in found}}
    rows = [_labelled_row(row, manifests[row.version]) for row in found]
    suitable = tuple(row for row in rows if row is not None)
    return LabelledRows(suitable, len(rows) - len(suitable))


def _labelled_row(row: Row[Any], manifest: Manifest | None) -> LabelledRow | None:
    """Return a row as the feature store takes it; None when it does not suit the bundle that scored it."""
    # Nobody knows the truth of a row before there is the row: such a label is of another one, or its clock is wrong.
    if manifest is None or row.known_utc_s < row.scored_utc_s:
        return None
    label: str | float = row.label_text if row.label_text is not None else row.label_value
    if manifest.task == "classification":
        label = label_name(label)
    values = _FEATURES.decode(row.features)
    if not _values_suit(values, manifest) or not _label_suits(label, manifest):
        return None
    # Devices name their predictions after themselves; a name that does not say so could be another device's.
    is_own = row.prediction_id.startswith(f"{row.device}.")
    return LabelledRow(
        prediction_id=row.prediction_id if is_own else f"{row.device}/{row.prediction_id}",
        device=row.device,
        bundle=str(manifest.ref),
        features={f.name: _named(value, f) for value, f in zip(values, manifest.features, strict=True)},
        label=label,
        scored_utc_s=row.scored_utc_s,
        known_utc_s=row.known_utc_s,
        reason=row.reason,
        windows=window_text(manifest.inputs.signal),
    )


def _named(value: float | None, feature: Feature) -> float | str | None:
    """Return a value whose meaning does not depend on the manifest."""
    return value if value is None or feature.dtype != "category" else feature.categories[int(value)]


def _label_suits(label: str | float, manifest: Manifest) -> bool:
    if manifest.task == "classification":
        return label in manifest.labels
    try:
        return abs(float(label)) <= _MAX_VALUE
    except ValueError:
        return False


def _values_suit(values: tuple[float | None, ...], manifest: Manifest) -> bool:
    return len(values) == len(manifest.features) and all(map(_value_suits, values, manifest.features))


def _value_suits(value: float | None, feature: Feature) -> bool:
    if value is None:
        # Where the schema refuses such a row, no device has scored it, and no run may see it.
        return feature.on_missing == "flag"
    if feature.dtype == "category":
        return 0 <= value < len(feature.categories) and value == int(value)
    return abs(value) <= _MAX_VALUE
