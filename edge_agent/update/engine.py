"""An opened bundle: all that the scoring loop needs to score with it, and the meter of its trial."""

from array import array
from collections.abc import Callable, Sequence

from msgspec import Struct

from edge_agent.bundle import Manifest
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.scorer import Scorer
from edge_agent.telemetry.window import WindowLayout
from edge_agent.update.record import Content, SlotName
from edge_agent.update.slots import Bundle
from edge_agent.update.trial import Evidence


class TrialMeter:
    """Counts what a trial is judged by. The scoring thread writes, the updater reads; each number is written whole."""

    __slots__ = ("_latencies_us", "_max_latencies", "errors", "refused", "rows")

    def __init__(self, rows: int) -> None:
        """Keep the latencies of the first ``rows`` rows."""
        self.rows = 0
        self.errors = 0
        self.refused = 0
        self._max_latencies = rows
        self._latencies_us = array("d")

    def count(self, latency_us: float) -> None:
        """Count a scored row."""
        if len(self._latencies_us) < self._max_latencies:
            self._latencies_us.append(latency_us)
        # Last, so that a reader that sees the row finds its latency.
        self.rows += 1

    def evidence(self, starts: int, elapsed_s: float, memory_bytes: int | None = None) -> Evidence:
        """Return what was counted so far, with what the updater knows beside it."""
        latencies_us = self._latencies_us[:]
        middle = _median(latencies_us) if latencies_us else None
        return Evidence(self.rows, self.errors, self.refused, middle, starts, elapsed_s, memory_bytes)


class Engine(Struct, eq=False):
    """A bundle that can score now; `scorer` belongs to the scoring thread once the engine was offered to it.

    Attributes:
        meter: counts while the bundle is on trial; None: it is committed. The updater drops it at the commit, while the
            engine scores.
        layout: of its windows; None: the scoring thread lays them out when it takes over.
    """

    slot: SlotName
    content: Content
    manifest: Manifest
    scorer: Scorer
    meter: TrialMeter | None = None
    layout: WindowLayout | None = None

    def close(self) -> None:
        """Give back its memory; the scoring thread must be done with it."""
        self.scorer.close()


OpenEngine = Callable[[SlotName, Content, Bundle, TrialMeter | None], Engine]


def open_engine(slot: SlotName, content: Content, bundle: Bundle, meter: TrialMeter | None) -> Engine:
    """Open the bundle of a slot; one on trial has its golden rows run first.

    It was proved by a process of its own already, unless it came with the card that this device started from.

    Raises:
        BundleError: it cannot be opened here, or does not answer as it should.
        StorageError: it cannot be read now.
    """
    runtime = open_runtime(bundle.variant, bundle.folder, bundle.manifest)
    manifest = bundle.manifest
    if meter is not None:
        from edge_agent.scoring.golden import verify_golden  # noqa: PLC0415 - few starts are in a trial

        try:
            verify_golden(manifest, bundle.variant, runtime)
        except BaseException:
            runtime.close()
            raise
    scorer = Scorer(manifest, runtime)
    if scorer.block is not None:
        # By the thread that opens it, not by the scoring thread in its first row.
        scorer.block.warm_up()
    return Engine(slot, content, manifest, scorer, meter, WindowLayout(manifest))


def _median(values: Sequence[float]) -> float:
    """Return the middle value; `statistics` would bring decimals and fractions along, 0.6 MB on a device."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
