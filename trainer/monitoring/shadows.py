"""What devices reported of bundles in the shadow: kept report by report, summed by device and pair of bundles."""

from typing import Any

import msgspec
from sqlalchemy import func, select

from broker.messages import BundleRef, Event, RecordKey
from broker.topics import DeviceId
from trainer.monitoring.store import Store
from trainer.monitoring.tables import SHADOWS


class ShadowSum(msgspec.Struct, frozen=True):
    """How far one bundle in the shadow of one device differed from the one that counts, over all reports.

    Attributes:
        bundle, against: what scored in the shadow, and what counts.
        reports: how many were summed.
        rows: rows that both scored.
        disagreements: of these, with another label, or another of the shadow's output bins.
        mean_difference: regression: mean absolute difference of a row; 0 without rows.
        refused: rows that the one that counts scored, and the shadow refused or failed on.
        dropped: rows that the shadow never saw, because it was too slow.
        median_latency_us: of the last report.
        last_utc_s: when the last report was made, by the device's clock.
    """

    device: DeviceId
    bundle: BundleRef
    against: BundleRef
    reports: int
    rows: int
    disagreements: int
    mean_difference: float
    refused: int
    dropped: int
    median_latency_us: float
    last_utc_s: float

    @property
    def share(self) -> float | None:
        """The share of rows that differ; None before the first row."""
        return self.disagreements / self.rows if self.rows else None


def shadow_rows(device: DeviceId, key: RecordKey, event: Event) -> list[dict[str, Any]]:
    """Return the report that an event carries as a row of `SHADOWS`; nothing where it carries none."""
    report = event.shadow
    return (
        []
        if report is None
        else [
            {
                "device": device,
                "epoch": key.epoch,
                "sequence": key.sequence,
                "at_utc_s": event.at_utc_s,
                "bundle": report.bundle.name,
                "version": report.bundle.version,
                "against_bundle": report.against.name,
                "against_version": report.against.version,
                "rows": report.rows,
                "disagreements": report.disagreements,
                "difference_sum": report.difference_sum,
                "refused": report.refused,
                "dropped": report.dropped,
                "median_latency_us": report.median_latency_us,
            }
        ]
    )


def sum_shadows(store: Store, device: DeviceId | None = None) -> tuple[ShadowSum, ...]:
    """Return sums over everything that was reported, by device and pair of bundles, the newest report last.

    Args:
        store: of the fleet.
        device: only this one; None: all.
    """
    table = SHADOWS.c
    pair = (table.device, table.bundle, table.version, table.against_bundle, table.against_version)
    place = func.row_number().over(partition_by=pair, order_by=table.id.desc()).label("place")
    ranked = select(SHADOWS, place)
    if device is not None:
        ranked = ranked.where(table.device == device)
    ranked_rows = ranked.subquery().c
    last = func.sum(ranked_rows.median_latency_us).filter(ranked_rows.place == 1)
    grouped = [ranked_rows[column.name] for column in pair]
    sums = ("rows", "disagreements", "difference_sum", "refused", "dropped")
    query = (
        select(
            *grouped,
            func.count().label("reports"),
            *(func.sum(ranked_rows[name]).label(name) for name in sums),
            last.label("median_latency_us"),
            func.max(ranked_rows.at_utc_s).label("last_utc_s"),
            func.max(ranked_rows.id).label("number"),
        )
        .group_by(*grouped)
        .order_by("number")
    )
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return tuple(
        ShadowSum(
            DeviceId(row.device),
            BundleRef(row.bundle, int(row.version)),
            BundleRef(row.against_bundle, int(row.against_version)),
            int(row.reports),
            int(row.rows),
            int(row.disagreements),
            float(row.difference_sum) / int(row.rows) if row.rows else 0.0,
            int(row.refused),
            int(row.dropped),
            float(row.median_latency_us),
            float(row.last_utc_s),
        )
        for row in rows
    )
