"""The protocol behind which the takers of answers stand."""

from typing import Protocol

from broker.messages import BundleRef
from edge_agent.scoring.scorer import Prediction


class Sink(Protocol):
    """Takes the answers, on the device."""

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        """Take one answer; called by the scoring thread, so it does no I/O and never raises."""
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


class NoSink:
    """Takes answers and keeps none: for devices whose answers only travel as telemetry."""

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        """Take one answer."""

    def flush(self) -> None:
        """Have nothing to make durable."""

    def close(self) -> None:
        """Have nothing to give back."""
