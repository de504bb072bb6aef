"""Counts the rows of one bundle that have no answer, and failures: into its window, to the sink, against its trial.

What all bundles of a loop share, `Outlets`, stands here too: both ways of rows (`turn`, `block_path`) are given them.
"""

from typing import Final

from msgspec import Struct

from edge_agent.clock import Clock
from edge_agent.errors import RowError
from edge_agent.sensing.sink import LineSink, Sink
from edge_agent.surprises import Surprises
from edge_agent.telemetry.sampler import Sampler
from edge_agent.telemetry.window import WindowBuilder
from edge_agent.update.engine import Engine
from edge_agent.update.shadow_queue import ShadowQueue

# The kind of a row on which the runtime failed.
RUNTIME: Final = "runtime"
# Failures inside the agent, as telemetry counts them.
COUNTING: Final = "counting"


class Outlets(Struct, frozen=True):
    """Where scored rows go, and what is the same for all bundles of a loop.

    Attributes:
        prediction_prefix: stands before a row's number in the id of its prediction.
        sink: takes answers.
        line_sink: the same, if it takes them as lines.
        sampler: chooses rows worth a label.
        shadow: takes rows for a bundle in the shadow.
        clock: monotonic for durations, UTC for times.
        surprises: is told of exceptions that nobody foresaw.
        batches: whether one call of the runtime may score more than one row.
        abstain_below: predictions of less confidence are marked as abstained.
    """

    prediction_prefix: str
    sink: Sink
    line_sink: LineSink | None
    sampler: Sampler
    shadow: ShadowQueue
    clock: Clock
    surprises: Surprises
    batches: bool
    abstain_below: float


class Tally:
    """What became of the rows of one turn.

    Attributes:
        engine: scores them.
        window: counts them.
        cursor: number of the first source row that is not yet counted.
    """

    __slots__ = ("_sink", "cursor", "engine", "window")

    def __init__(self, engine: Engine, window: WindowBuilder, sink: Sink) -> None:
        self.engine = engine
        self.window = window
        self.cursor = 0
        self._sink = sink

    def refuse(self, number: int, error: RowError) -> None:
        """Count a row that got no answer, and tell the sink."""
        self.window.refuse(number, error)
        self._sink.refuse(number, error)
        meter = self.engine.meter
        if meter is None:
            return
        if error.kind == RUNTIME:
            meter.errors += 1
        else:
            meter.refused += 1

    def fail(self, kind: str) -> None:
        """Count a failure inside the agent: in telemetry, and against a bundle that is on trial."""
        self.window.error(kind)
        meter = self.engine.meter
        if meter is not None:
            meter.errors += 1
