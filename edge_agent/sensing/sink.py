"""The protocol behind which the takers of answers stand."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from broker.messages import BundleRef
from edge_agent.errors import RowError
from edge_agent.scoring.scorer import Prediction


class Sink(Protocol):
    """Takes the answers, on the device."""

    @property
    def lost(self) -> int:
        """Answers that were dropped because nobody took them for too long."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether it can take more before it drops any; while it cannot, the source is not read, for a moment."""
        ...

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        """Take one answer; called by the scoring thread, so it does no I/O and never raises."""
        ...

    def refuse(self, row: int, error: RowError) -> None:
        """Take the word that a row was refused and why, so it has no answer; it does no I/O and never raises."""
        ...

    def flush(self) -> None:
        """Make every answer taken so far durable.

        Called before the window of these rows becomes durable: whoever finds a row counted finds its answer too.

        Raises:
            OSError: some answers are not durable yet; they are kept, and written by the next `flush`.
        """
        ...

    def close(self) -> None:
        """Flush, and give back what it holds."""
        ...


@runtime_checkable
class LineSink(Protocol):
    """A sink whose answers are the lines of `edge_agent.sensing.answer_lines`: it takes those of many rows at once."""

    def write_lines(self, lines: bytes, n: int) -> None:
        """Take ``n`` lines of rows that were scored together, each with its end; as `Sink.write`, it never raises."""
        ...


class NoSink:
    """Takes answers and keeps none: for devices whose answers only travel as telemetry."""

    lost = 0
    has_room = True

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        """Take one answer."""

    def write_lines(self, lines: bytes, n: int) -> None:
        """Take answers."""

    def refuse(self, row: int, error: RowError) -> None:
        """Take a refusal."""

    def flush(self) -> None:
        """Have nothing to make durable."""

    def close(self) -> None:
        """Have nothing to give back."""


class Sinks:
    """Several sinks as one: an answer that goes back to who asked, and into a file."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    @property
    def lost(self) -> int:
        """Answers that any of them dropped."""
        return sum(sink.lost for sink in self._sinks)

    @property
    def has_room(self) -> bool:
        """Whether none of them is merely slow."""
        return all(sink.has_room for sink in self._sinks)

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        """Give an answer to each."""
        for sink in self._sinks:
            sink.write(prediction_id, row, at_utc_s, bundle, prediction)

    def refuse(self, row: int, error: RowError) -> None:
        """Tell each of a refusal."""
        for sink in self._sinks:
            sink.refuse(row, error)

    def flush(self) -> None:
        """Flush each, whatever the others do; then raise what the first of them raised."""
        errors: list[OSError] = []
        for sink in self._sinks:
            try:
                sink.flush()
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def close(self) -> None:
        """Close each, the last first."""
        for sink in reversed(self._sinks):
            sink.close()
