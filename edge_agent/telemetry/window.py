"""Counts a stretch of scoring into one telemetry window, whose size does not depend on how many rows it holds."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from broker.messages import FeatureCounts, Resources, TelemetryWindow
from edge_agent.bundle import Manifest, n_agreement_bins
from edge_agent.errors import RowError
from edge_agent.scoring.schema import OUT_OF_RANGE, EncodedRow
from edge_agent.scoring.scorer import Prediction
from edge_agent.telemetry.sketches import LatencySketch, add_counts, add_named, as_named

MAX_NAMES: Final = 32
OTHER: Final = "other"


class WindowBuilder:
    """The window that is being counted; one bundle's, used by one thread.

    `close` gives the window and starts the next one, so nothing is built anew while rows come.
    """

    def __init__(self, manifest: Manifest, variant: str, started_utc_s: float) -> None:
        self._bundle = manifest.ref
        self._variant = variant
        self._full = manifest.window_rows
        self._edges = tuple(reference.edges for reference in manifest.references)
        self._is_classification = manifest.task == "classification"
        self._output_edges = manifest.output_edges
        self._n_predictions = manifest.n_outputs if self._is_classification else len(manifest.output_edges) + 1
        self._n_agreement = n_agreement_bins(manifest)
        self._latency = LatencySketch()
        self._first_row = self._last_row = -1
        self._start(started_utc_s)

    @property
    def rows(self) -> int:
        """Rows counted so far, scored or refused."""
        return self._scored + sum(self._refused.values())

    @property
    def rows_scored(self) -> int:
        """Rows that got a prediction so far."""
        return self._scored

    @property
    def is_full(self) -> bool:
        """Whether the manifest's number of rows is reached."""
        return self.rows >= self._full

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell: no row and no error."""
        return self.rows == 0 and not self._errors

    @property
    def started_utc_s(self) -> float:
        """When this window began."""
        return self._started_utc_s

    @property
    def errors(self) -> int:
        """Errors counted so far, by `error`, and rows on which the runtime failed."""
        return sum(self._errors.values()) + self._refused.get("runtime", 0)

    def count(self, row_number: int, row: EncodedRow, prediction: Prediction, latency_us: float) -> None:
        """Count one scored row."""
        self._note_row(row_number)
        self._scored += 1
        for value, edges, counts in zip(row.values, self._edges, self._counts, strict=True):
            # NaN, the missing value, is the one number that does not equal itself; its place is the last.
            counts[bisect_right(edges, value) if value == value else -1] += 1  # noqa: PLR0124
        for index in row.out_of_range:
            self._out_of_range[index] += 1
        place = prediction.label_index
        self._predictions[bisect_right(self._output_edges, prediction.value) if place is None else place] += 1
        self._agreement[prediction.agreement_bin] += 1
        self._latency.add(latency_us)

    def refuse(self, row_number: int, error: RowError) -> None:
        """Count one row that got no prediction, by the rule that refused it.

        Where one feature's value was at fault it is counted there too, so that a broken sensor shows as itself:
        as out of range, or else as missing. Its bins count scored rows only.
        """
        self._note_row(row_number)
        self._refused[error.kind] = self._refused.get(error.kind, 0) + 1
        if error.feature is not None:
            if error.kind == OUT_OF_RANGE:
                self._out_of_range[error.feature] += 1
            else:
                self._counts[error.feature][-1] += 1

    def error(self, kind: str) -> None:
        """Count one failure inside the agent."""
        name = kind if kind in self._errors or len(self._errors) < MAX_NAMES - 1 else OTHER
        self._errors[name] = self._errors.get(name, 0) + 1

    def close(self, ended_utc_s: float, resources: Resources | None = None) -> TelemetryWindow:
        """Return the window counted so far, and start the next one where it ends."""
        window = TelemetryWindow(
            bundle=self._bundle,
            variant=self._variant,
            started_utc_s=self._started_utc_s,
            ended_utc_s=ended_utc_s,
            first_row=max(self._first_row, 0),
            last_row=max(self._last_row, 0),
            rows_scored=self._scored,
            rows_refused=as_named(self._refused),
            features=tuple(
                FeatureCounts(tuple(counts[:-1]), missing=counts[-1], out_of_range=outside)
                for counts, outside in zip(self._counts, self._out_of_range, strict=True)
            ),
            predictions=tuple(self._predictions),
            agreement=tuple(self._agreement),
            latency=self._latency.as_pairs(),
            errors=as_named(self._errors),
            resources=resources,
        )
        self._start(ended_utc_s)
        return window

    def _note_row(self, row_number: int) -> None:
        if self._first_row < 0:
            self._first_row = row_number
        self._last_row = row_number

    def _start(self, started_utc_s: float) -> None:
        self._started_utc_s = started_utc_s
        self._first_row = self._last_row = -1
        self._scored = 0
        self._refused: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        # One place more than bins: the last counts the missing.
        self._counts = [[0] * (len(edges) + 2) for edges in self._edges]
        self._out_of_range = [0] * len(self._edges)
        self._predictions = [0] * self._n_predictions
        self._agreement = [0] * self._n_agreement
        self._latency.clear()


def can_merge(one: TelemetryWindow, other: TelemetryWindow) -> bool:
    """Tell whether two windows count the same things: one bundle, one variant."""
    return one.bundle == other.bundle and one.variant == other.variant


def merge_windows(windows: Sequence[TelemetryWindow]) -> TelemetryWindow:
    """Return one window that counts what all ``windows`` count.

    The counts do not depend on the order; the resources are those of the window that ended last.

    Raises:
        ValueError: there is none, or they are of more than one bundle or variant.
    """
    if not windows:
        msg = "there is no window to merge"
        raise ValueError(msg)
    merged = windows[0]
    for window in windows[1:]:
        merged = _merge_two(merged, window)
    return merged


def _merge_two(one: TelemetryWindow, other: TelemetryWindow) -> TelemetryWindow:
    if not can_merge(one, other):
        msg = f"windows of {one.bundle} {one.variant} and {other.bundle} {other.variant} do not merge"
        raise ValueError(msg)
    # Of two that ended together, of two devices, whichever: but always the same one, in any order.
    later = max((one, other), key=lambda window: (window.ended_utc_s, window.last_row, repr(window.resources)))
    with_rows = [window for window in (one, other) if _rows(window)] or [one, other]
    return TelemetryWindow(
        bundle=one.bundle,
        variant=one.variant,
        started_utc_s=min(one.started_utc_s, other.started_utc_s),
        ended_utc_s=max(one.ended_utc_s, other.ended_utc_s),
        first_row=min(window.first_row for window in with_rows),
        last_row=max(window.last_row for window in with_rows),
        rows_scored=one.rows_scored + other.rows_scored,
        rows_refused=add_named(one.rows_refused, other.rows_refused),
        features=tuple(
            FeatureCounts(add_counts(a.counts, b.counts), a.missing + b.missing, a.out_of_range + b.out_of_range)
            for a, b in zip(one.features, other.features, strict=True)
        ),
        predictions=add_counts(one.predictions, other.predictions),
        agreement=add_counts(one.agreement, other.agreement),
        latency=LatencySketch((*one.latency, *other.latency)).as_pairs(),
        errors=add_named(one.errors, other.errors),
        resources=later.resources,
    )


def _rows(window: TelemetryWindow) -> int:
    return window.rows_scored + sum(count for _, count in window.rows_refused)
