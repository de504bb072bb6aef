"""How long rows wait when one bundle takes over from another.

The scoring loop asks its source for the next row as soon as it is done with the one before, so the time from an answer
to the next question is the whole path of a row. Where a switch lies between them, what is longer is the pause: the
window of the old bundle is ended and handed over, the new one's begins. A window is never full at a switch here: its
own end, which an ordinary row may bring as well, would be counted with it. What the agent's other thread does (to offer
a bundle, to take windows) is done while the source is asked, and is not counted.

Like is compared with like: the middle pause with the middle row, the slowest pause of a hundred with the slowest row of
a hundred; beside it stands the stricter line, that slowest pause against the middle row. The first row of the new
bundle is shown too, for it finds caches that another bundle filled.

The second measurement opens bundles in another thread all the while, as housekeeping does before a switch: what that
costs the rows is the interpreter's lock.
"""

import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import pytest

from benchmarks.small_bundles import SEED, SmallBundle, make_bundle
from broker.topics import DeviceId
from edge_agent.agent import ScoringLoop
from edge_agent.clock import SystemClock
from edge_agent.handover import ClosedWindow, Handover
from edge_agent.sensing.json_lines_sink import JsonLinesSink
from edge_agent.sensing.source import SourceRow
from edge_agent.settings import TelemetrySettings
from edge_agent.telemetry.sampler import Sampler
from edge_agent.update.engine import Engine, open_engine
from edge_agent.update.record import Content
from edge_agent.update.slots import Bundle

ROWS: Final = 30_000
# No multiple of a window's rows, nor a divisor.
EVERY: Final = 43
WARM_UP: Final = 500
CASES: Final = (
    ("digits", "mlp", "onnx-int8"),
    ("breast_cancer", "forest", "onnx-fp32"),
    ("breast_cancer", "forest", "native"),
)


class TimedRows:
    """A source of rows that are there already, one at a time.

    Attributes:
        waits_s: by row the time from when it was given to when the next one was asked for.
    """

    def __init__(self, rows: Sequence[SourceRow], before: Callable[[int], None]) -> None:
        self._rows = rows
        self._before = before
        self._clock = SystemClock()
        self._given_s = 0.0
        self.waits_s: list[float] = []
        self.at_end = False

    def next_row(self, timeout_s: float) -> SourceRow | None:  # noqa: ARG002 - it never waits
        # The first is asked for before any was given.
        self.waits_s.append(self._clock.monotonic_s() - self._given_s)
        place = len(self.waits_s) - 1
        if place == len(self._rows):
            self.at_end = True
            return None
        self._before(place)
        self._given_s = self._clock.monotonic_s()
        return self._rows[place]

    def ready_rows(self, limit: int) -> list[SourceRow]:  # noqa: ARG002 - each row is to be seen by itself
        return []

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("data", "kind", "variant"), CASES)
def bench_the_pause_of_a_switch(data, kind, variant, tmp_path, record_ratio) -> None:
    bundle = make_bundle(data, kind, variant, tmp_path / "bundle")
    engines = [_open(bundle), _open(bundle)]
    switches = set(range(WARM_UP, ROWS, EVERY))
    waits_us = _waits(bundle, tmp_path, engines, switches)
    usual = [wait for place, wait in enumerate(waits_us) if place >= WARM_UP and place not in switches]
    row_us, slow_row_us = median(usual), float(np.percentile(usual, 99))
    places = [place for place in switches if place + 1 < len(waits_us)]
    pauses = [max(0.0, waits_us[place] - row_us) for place in places]
    pause_us, slow_pause_us = median(pauses), float(np.percentile(pauses, 99))
    case = f"{data} {kind} {variant}"
    for name, ours, peer in (
        ("pause of a switch, median / a row's whole path, median", pause_us, row_us),
        ("pause of a switch, p99 / a row's whole path, p99", slow_pause_us, slow_row_us),
        ("pause of a switch, p99 / a row's whole path, median (stricter)", slow_pause_us, row_us),
    ):
        record_ratio(f"{case}: {name}", ours=ours, peer=peer, reach=1.0, unit="us", runs=len(pauses))
    record_ratio(
        f"{case}: pause and the new bundle's first row, median / two rows, median",
        ours=median(waits_us[place] + waits_us[place + 1] for place in places) - row_us,
        peer=2 * row_us,
        reach=1.0,
        unit="us",
        runs=len(pauses),
    )


@pytest.mark.parametrize(("data", "kind", "variant"), CASES)
def bench_rows_while_a_bundle_is_opened(data, kind, variant, tmp_path, record_ratio) -> None:
    bundle = make_bundle(data, kind, variant, tmp_path / "bundle")
    engines = [_open(bundle)]
    alone = _waits(bundle, tmp_path, engines, set())
    is_done = threading.Event()
    opened: list[int] = []

    def open_again_and_again() -> None:
        while not is_done.wait(0.01):
            _open(bundle).close()
            opened.append(1)

    opening = threading.Thread(target=open_again_and_again)
    opening.start()
    beside = _waits(bundle, tmp_path, engines, set())
    is_done.set()
    opening.join()
    assert opened, "no bundle was opened meanwhile"
    record_ratio(
        f"{data} {kind} {variant}: p99 of a row while bundles are opened / alone",
        ours=float(np.percentile(beside[WARM_UP:], 99)),
        peer=float(np.percentile(alone[WARM_UP:], 99)),
        reach=2.0,
        unit="us",
        runs=len(beside) - WARM_UP,
    )


def _open(bundle: SmallBundle) -> Engine:
    variant = bundle.manifest.variants[0]
    content = Content(bundle.manifest.ref, variant.name, "0" * 64)
    return open_engine("a", content, Bundle(bundle.folder, bundle.manifest, variant), None)


def _waits(bundle: SmallBundle, folder: Path, engines: list[Engine], switches: set[int]) -> list[float]:
    """Score rows, with a switch after each of some; return the microseconds from each row to the next question."""
    values = np.resize(bundle.rows, (ROWS, bundle.rows.shape[1])).tolist()
    rows = [SourceRow(number, tuple(row)) for number, row in enumerate(values)]
    handover = Handover(max_windows=ROWS)
    settings = TelemetrySettings()
    loops: list[ScoringLoop] = []
    turn = scored = 0

    def take_windows() -> int:
        return sum(item.window.rows_scored for item in handover.take(0) if isinstance(item, ClosedWindow))

    def before(place: int) -> None:
        nonlocal turn, scored
        if place % EVERY == 0:
            scored += take_windows()
        if place in switches:
            # Taken once this row is scored: the pause lies before the next question.
            turn = 1 - turn
            loops[0].offer(engines[turn])

    source = TimedRows(rows, before)
    sink = JsonLinesSink(folder / "answers.jsonl")
    loop = ScoringLoop(
        DeviceId("bench"),
        open_source=lambda _features, _cursor: source,
        sink=sink,
        sampler=Sampler(random.Random(SEED), settings.background_rows, settings.max_label_share),
        handover=handover,
        clock=SystemClock(),
        max_window_s=settings.max_window_s,
        stop_at_end=True,
        engine=engines[0],
        cursor=0,
    )
    loops.append(loop)
    loop.run()
    sink.close()
    assert scored + take_windows() == ROWS, "a switch lost or repeated a row"
    return [wait_s * 1e6 for wait_s in source.waits_s[1 : ROWS + 1]]
