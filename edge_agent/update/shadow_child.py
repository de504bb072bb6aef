"""The process of a shadow: ``python -m edge_agent.update.shadow_child``.

It scores the rows that another bundle has scored already, and counts how often it would have said something else. A
process of its own, because it may be slow, large or crash, and the bundle that counts must notice none of it: it is the
last to get the processor and the first to go when memory is short.
"""

import contextlib
import os
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import BinaryIO, Final

from edge_agent.bundle import Manifest
from edge_agent.clock import SystemClock
from edge_agent.errors import AgentError, RowError
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.scorer import Prediction, Scorer
from edge_agent.update.shadow_messages import (
    LENGTH_BYTES,
    MAX_MESSAGE_BYTES,
    ORDER,
    ROWS,
    ShadowCounts,
    ShadowOrder,
    ShadowRow,
    framed,
)
from edge_agent.update.slots import SlotStore

NICENESS: Final = 19
# The newest latencies, of which the median is told.
MAX_LATENCIES: Final = 1024
_FIRST_TO_GO: Final = b"1000"


class Comparison:
    """Scores rows and counts; knows nothing of processes."""

    def __init__(
        self, manifest: Manifest, scorer: Scorer, features: tuple[str, ...], clock: Callable[[], float]
    ) -> None:
        """Prepare to score.

        Args:
            manifest: of the bundle in the shadow.
            scorer: its way from a row to a prediction.
            features: names of the values of each row.
            clock: seconds that never go back.

        Raises:
            AgentError: the rows lack a feature.
        """
        missing = [feature.name for feature in manifest.features if feature.name not in features]
        if missing:
            raise AgentError(f"the rows have no {', '.join(missing)}; the bundle that counts does not take it")
        self._places = [features.index(feature.name) for feature in manifest.features]
        self._edges = manifest.output_edges
        self._scorer = scorer
        self._clock = clock
        self._latencies_us = array("d")
        self._rows = self._disagreements = self._refused = 0
        self._difference_sum = 0.0

    def compare(self, rows: list[ShadowRow]) -> ShadowCounts:
        """Score rows; return what was counted since the beginning."""
        for row in rows:
            began_s = self._clock()
            try:
                prediction = self._scorer.score([row.values[place] for place in self._places])
            except (RowError, IndexError):
                self._refused += 1
                continue
            if len(self._latencies_us) == MAX_LATENCIES:
                del self._latencies_us[0]
            self._latencies_us.append((self._clock() - began_s) * 1e6)
            self._rows += 1
            self._count(row, prediction)
        return ShadowCounts(
            self._rows,
            self._disagreements,
            self._difference_sum,
            self._refused,
            median(self._latencies_us) if self._latencies_us else 0.0,
        )

    def _count(self, row: ShadowRow, prediction: Prediction) -> None:
        if row.label is not None or prediction.label is not None:
            self._disagreements += row.label != prediction.label
            return
        self._difference_sum += abs(row.value - prediction.value)
        bins = bisect_right(self._edges, row.value), bisect_right(self._edges, prediction.value)
        self._disagreements += bins[0] != bins[1]


def main() -> int:
    """Run ``python -m edge_agent.update.shadow_child``: rows come from stdin, whose end is the end."""
    answers = os.dup(1)
    # What a runtime prints goes to stderr.
    os.dup2(2, 1)
    _step_back()
    messages = sys.stdin.buffer
    order = ORDER.decode(_read(messages))
    try:
        comparison = _open(order)
    except AgentError as error:
        _write(answers, framed(ShadowCounts(error=str(error)[:2048])))
        return error.exit_code
    _write(answers, framed(ShadowCounts()))
    while data := _read(messages):
        _write(answers, framed(comparison.compare(ROWS.decode(data))))
    return 0


def _open(order: ShadowOrder) -> Comparison:
    slot = Path(order.slot)
    # As the agent opens it: every byte is compared with what was proved.
    bundle = SlotStore.load_from(slot, order.content)
    runtime = open_runtime(bundle.variant, slot, bundle.manifest)
    scorer = Scorer(bundle.manifest, runtime)
    return Comparison(bundle.manifest, scorer, order.features, SystemClock().monotonic_s)


def _step_back() -> None:
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_FIRST_TO_GO)


def _read(messages: BinaryIO) -> bytes:
    """Return the next message; empty: there is none any more."""
    head = messages.read(LENGTH_BYTES)
    length = int.from_bytes(head, "big")
    if len(head) < LENGTH_BYTES or length > MAX_MESSAGE_BYTES:
        return b""
    data = messages.read(length)
    return data if len(data) == length else b""


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    sys.exit(main())
