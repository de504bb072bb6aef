"""Counts a stretch of scoring into one telemetry window, whose size does not depend on how many rows it holds."""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Final, Protocol

import msgspec

from broker.messages import BundleRef, FeatureCounts, Resources, TelemetryWindow
from edge_agent.bundle import Manifest, n_agreement_bins
from edge_agent.errors import RowError
from edge_agent.scoring.schema import OUT_OF_RANGE, EncodedRow
from edge_agent.scoring.scorer import Prediction
from edge_agent.telemetry.sketches import LatencySketch, add_counts, add_named, as_named

MAX_NAMES: Final = 32
OTHER: Final = "other"


class BlockCounts(Protocol):
    """Counts rows elsewhere: `edge_agent.engine.face.RowBlock`."""

    def counts(self) -> tuple[bytes, int, bytes]:
        """Return what was counted since the last call, and start anew."""
        ...

    def forget(self) -> None:
        """Start anew."""
        ...


class WindowLayout:
    """Where the counts of a window stand in one row of numbers, as `edge_agent.engine.face.RowBlock.counts` says.

    Attributes:
        edges: by feature the inner edges of its bins.
        starts: by feature the place of its first bin; the missing come behind the last.
        outside, predictions, agreement: places of the first count out of range, prediction and agreement.
        end: how many counts there are.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Lay out the windows of a bundle, which takes time: best before it takes over."""
        n_bins = [len(reference.edges) + 1 for reference in manifest.references]
        is_classification = manifest.task == "classification"
        n_predictions = manifest.n_outputs if is_classification else len(manifest.output_edges) + 1
        self.edges = tuple(reference.edges for reference in manifest.references)
        self.starts = tuple(accumulate((n + 1 for n in n_bins[:-1]), initial=0))
        missing = tuple(start + n for start, n in zip(self.starts, n_bins, strict=True))
        self.outside = missing[-1] + 1
        self.predictions = self.outside + len(n_bins)
        self.agreement = self.predictions + n_predictions
        self.end = self.agreement + n_agreement_bins(manifest)
        self._bins = tuple(slice(start, end) for start, end in zip(self.starts, missing, strict=True))
        # Of one place alone it would give no tuple.
        self._missing = itemgetter(*missing, *missing[:1])

    def features(self, counts: tuple[int, ...]) -> tuple[FeatureCounts, ...]:
        """Return the counts of the features; quickly, for this is done for every window."""
        bins = map(counts.__getitem__, self._bins)
        return tuple(map(FeatureCounts, bins, self._missing(counts), counts[self.outside : self.predictions]))


class _Counted(msgspec.Struct, gc=False):
    """All that was counted into a window; written to until it ends, and built into one by whoever has the time."""

    bundle: BundleRef
    variant: str
    layout: WindowLayout
    started_utc_s: float
    ended_utc_s: float = 0.0
    first_row: int = -1
    last_row: int = -1
    scored: int = 0
    n_refused: int = 0
    refused: dict[str, int] = {}
    errors: dict[str, int] = {}
    resources: Resources | None = None
    # Made when something is to be counted here: most windows of a device with the engine have it all in the block.
    own: list[int] | None = None
    latency: LatencySketch | None = None
    block: tuple[bytes, int, bytes] | None = None

    def build(self) -> TelemetryWindow:
        """Return the window."""
        layout, counts, latency = self.layout, tuple(self.own or ()), self.latency or LatencySketch()
        if self.block is not None:
            found, lowest, buckets = self.block
            there = tuple(array("Q", found))
            counts = add_counts(counts, there) if counts else there
            latency = latency.merge(LatencySketch((b, n) for b, n in enumerate(array("I", buckets), lowest) if n))
        counts = counts or (0,) * layout.end
        return TelemetryWindow(
            bundle=self.bundle,
            variant=self.variant,
            started_utc_s=self.started_utc_s,
            ended_utc_s=self.ended_utc_s,
            first_row=max(self.first_row, 0),
            last_row=max(self.last_row, 0),
            rows_scored=self.scored,
            rows_refused=as_named(self.refused),
            features=layout.features(counts),
            predictions=counts[layout.predictions : layout.agreement],
            agreement=counts[layout.agreement :],
            latency=latency.as_pairs(),
            errors=as_named(self.errors),
            resources=self.resources,
        )


class WindowBuilder:
    """The window that is being counted; one bundle's, used by one thread.

    `close` gives the window and starts the next one, so nothing is built anew while rows come.
    """

    def __init__(
        self,
        manifest: Manifest,
        variant: str,
        started_utc_s: float,
        block: BlockCounts | None = None,
        layout: WindowLayout | None = None,
    ) -> None:
        """Start the first window; it may be made by another thread, while the block still counts for another builder.

        Args:
            manifest: says the bins.
            variant: of the bundle, that scores.
            started_utc_s: when it began.
            block: counts rows beside this one (`count_block`).
            layout: of this manifest, if it was laid out already.
        """
        self._full = manifest.window_rows
        self._output_edges = manifest.output_edges
        self._layout = WindowLayout(manifest) if layout is None else layout
        self._edges = self._layout.edges
        self._block = block
        self._open = _Counted(manifest.ref, variant, self._layout, started_utc_s)

    @property
    def rows(self) -> int:
        """Rows counted so far, scored or refused."""
        return self._open.scored + self._open.n_refused

    @property
    def rows_scored(self) -> int:
        """Rows that got a prediction so far."""
        return self._open.scored

    @property
    def rows_left(self) -> int:
        """Rows until the manifest's number is reached; negative where it is passed."""
        return self._full - self.rows

    @property
    def is_full(self) -> bool:
        """Whether the manifest's number of rows is reached."""
        return self.rows >= self._full

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell: no row and no error."""
        counted = self._open
        return not (counted.scored or counted.n_refused or counted.errors)

    @property
    def started_utc_s(self) -> float:
        """When this window began."""
        return self._open.started_utc_s

    @property
    def errors(self) -> int:
        """Errors counted so far, by `error`, and rows on which the runtime failed."""
        return sum(self._open.errors.values()) + self._open.refused.get("runtime", 0)

    def begin(self, started_utc_s: float) -> None:
        """Begin now, in the thread that counts: what the block counted before is forgotten."""
        self._open.started_utc_s = started_utc_s
        if self._block is not None:
            self._block.forget()

    def count(self, row_number: int, row: EncodedRow, prediction: Prediction, latency_us: float) -> None:
        """Count one scored row."""
        self._note_rows(row_number, row_number)
        self._open.scored += 1
        layout, counts = self._layout, self._own_counts()
        for value, edges, start in zip(row.values, self._edges, layout.starts, strict=True):
            # NaN, the missing value, is the one number that does not equal itself; its place is the last.
            counts[start + (bisect_right(edges, value) if value == value else len(edges) + 1)] += 1  # noqa: PLR0124
        for index in row.out_of_range:
            counts[layout.outside + index] += 1
        place = prediction.label_index
        place = bisect_right(self._output_edges, prediction.value) if place is None else place
        counts[layout.predictions + place] += 1
        counts[layout.agreement + prediction.agreement_bin] += 1
        latency = self._open.latency
        if latency is None:
            latency = self._open.latency = LatencySketch()
        latency.add(latency_us)

    def count_block(self, first_row: int, last_row: int, scored: int) -> None:
        """Count rows that the block has in its counts already: ``scored`` of those from the first to the last."""
        self._note_rows(first_row, last_row)
        self._open.scored += scored

    def refuse(self, row_number: int, error: RowError) -> None:
        """Count one row that got no prediction, by the rule that refused it.

        Where one feature's value was at fault it is counted there too, so that a broken sensor shows as itself:
        as out of range, or else as missing. Its bins count scored rows only.
        """
        self._note_rows(row_number, row_number)
        counted = self._open
        counted.n_refused += 1
        counted.refused[error.kind] = counted.refused.get(error.kind, 0) + 1
        if error.feature is not None:
            layout, index = self._layout, error.feature
            missing = layout.starts[index] + len(self._edges[index]) + 1
            self._own_counts()[layout.outside + index if error.kind == OUT_OF_RANGE else missing] += 1

    def error(self, kind: str) -> None:
        """Count one failure inside the agent."""
        errors = self._open.errors
        name = kind if kind in errors or len(errors) < MAX_NAMES - 1 else OTHER
        errors[name] = errors.get(name, 0) + 1

    def close(self, ended_utc_s: float, resources: Resources | None = None) -> TelemetryWindow:
        """Return the window counted so far, and start the next one where it ends."""
        return self.end(ended_utc_s, resources)()

    def end(self, ended_utc_s: float, resources: Resources | None = None) -> Callable[[], TelemetryWindow]:
        """Close as `close` does; return what builds the window, for a thread that has the time."""
        counted = self._open
        counted.resources = resources
        build = self.finish(ended_utc_s)
        self._open = _Counted(counted.bundle, counted.variant, counted.layout, ended_utc_s)
        return build

    def finish(self, ended_utc_s: float) -> Callable[[], TelemetryWindow]:
        """Close for good, as `end` does: nothing is counted here any more, so that no next window is made."""
        counted = self._open
        counted.ended_utc_s = ended_utc_s
        if self._block is not None:
            counted.block = self._block.counts()
        return counted.build

    def _note_rows(self, first: int, last: int) -> None:
        # Within a block a row that was refused may be told before one that stands before it.
        counted = self._open
        if counted.first_row < 0 or first < counted.first_row:
            counted.first_row = first
        counted.last_row = max(counted.last_row, last)

    def _own_counts(self) -> list[int]:
        own = self._open.own
        if own is None:
            own = self._open.own = [0] * self._layout.end
        return own


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
    # Of two that ended together, of two devices, whichever: but always the same one, in any order. What decides must
    # itself be merged by the same rule, or a merged window would lose where its parts had won.
    later = max((one, other), key=lambda window: (window.ended_utc_s, repr(window.resources)))
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
