"""Joins samples with their labels: how wrong were the rows whose truth is known?"""

import math
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from sqlalchemy import Row, Select, func, select

from broker.messages import BundleRef
from broker.topics import DeviceId
from edge_agent.bundle import Manifest
from trainer.monitoring.store import Store
from trainer.monitoring.tables import LABELS, SAMPLES

BACKGROUND = "background"
ASKED = "asked"
# Chosen at random by the device; rows chosen for being uncertain are wrong more often than others.
AT_RANDOM = (BACKGROUND, ASKED)


class LabelledSample(Struct, frozen=True):
    """A sampled row whose truth has become known, without its features.

    Attributes:
        number: grows in the order in which samples arrived.
        prediction: index of the label, or the value.
        truth: name of the label, or the value.
    """

    number: int
    device: DeviceId
    prediction_id: str
    scored_utc_s: float
    reason: str
    ask_id: str | None
    prediction: float
    truth: str | float


def labelled_samples(
    store: Store,
    bundle: BundleRef,
    *,
    reasons: Iterable[str],
    latest: int,
    after: int = 0,
    device: DeviceId | None = None,
) -> tuple[LabelledSample, ...]:
    """Return the latest labelled rows that one bundle scored, the latest last.

    Args:
        store: to read from.
        bundle: that scored them.
        reasons: only rows sampled for one of these.
        latest: at most so many.
        after: only samples with a greater number.
        device: only rows of this device.
    """
    query = _joined().where(
        SAMPLES.c.bundle == bundle.name,
        SAMPLES.c.version == bundle.version,
        SAMPLES.c.reason.in_(list(reasons)),
        SAMPLES.c.id > after,
    )
    if device is not None:
        query = query.where(SAMPLES.c.device == device)
    with store.reading() as connection:
        rows = connection.execute(query.order_by(SAMPLES.c.id.desc()).limit(latest)).all()
    return tuple(_labelled(row) for row in reversed(rows))


def last_sample_number(store: Store) -> int:
    """Return the number of the sample that was stored last; 0 when there is none."""
    with store.reading() as connection:
        return int(connection.execute(select(func.max(SAMPLES.c.id))).scalar() or 0)


def errors_of(samples: Iterable[LabelledSample], manifest: Manifest) -> tuple[float, ...]:
    """Return the errors of labelled rows: 0 or 1 for classification, absolute errors for regression.

    Rows whose label is not one of the bundle's labels, or not a number, are left out: see `unknown_labels`.
    """
    return tuple(error for sample in samples if (error := _error_of(sample, manifest)) is not None)


def count_labels(store: Store, bundle: str, *, since_utc_s: float) -> int:
    """Return how many sampled rows of all versions of a bundle got their label since a moment."""
    query = (
        select(func.count())
        .select_from(SAMPLES)
        .join(LABELS, (SAMPLES.c.device == LABELS.c.device) & (SAMPLES.c.prediction_id == LABELS.c.prediction_id))
        .where(SAMPLES.c.bundle == bundle, LABELS.c.received_utc_s > since_utc_s)
    )
    with store.reading() as connection:
        return int(connection.execute(query).scalar_one())


def unknown_labels(samples: Iterable[LabelledSample], manifest: Manifest) -> int:
    """Return how many labels the bundle cannot be judged by: unknown names, or no numbers."""
    return sum(_error_of(sample, manifest) is None for sample in samples)


def label_name(label: str | float) -> str:
    """Return a class label as text; a whole number that came as a float loses its point."""
    if isinstance(label, str):
        return label
    return str(int(label)) if label.is_integer() else str(label)


def _error_of(sample: LabelledSample, manifest: Manifest) -> float | None:
    if manifest.task != "classification":
        try:
            truth = float(sample.truth)
        except ValueError:
            return None
        return abs(sample.prediction - truth) if math.isfinite(truth) else None
    name = label_name(sample.truth)
    index = int(sample.prediction)
    if name not in manifest.labels or index != sample.prediction or not 0 <= index < len(manifest.labels):
        return None
    return float(manifest.labels[index] != name)


def _joined() -> Select[Any]:
    return select(SAMPLES, LABELS.c.label_text, LABELS.c.label_value, LABELS.c.known_utc_s).join(
        LABELS, (SAMPLES.c.device == LABELS.c.device) & (SAMPLES.c.prediction_id == LABELS.c.prediction_id)
    )


def _labelled(row: Row[Any]) -> LabelledSample:
    return LabelledSample(
        row.id,
        DeviceId(row.device),
        row.prediction_id,
        row.scored_utc_s,
        row.reason,
        row.ask_id,
        row.prediction,
        row.label_text if row.label_text is not None else row.label_value,
    )
