"""What a service tells of the rows of one request, and to whom."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from edge_agent.bundle import Manifest
from edge_agent.errors import RowError
from edge_agent.scoring.schema import RawRow
from edge_agent.scoring.scorer import Prediction


class ScoredRows(Struct, frozen=True, gc=False):
    """Rows that one bundle scored or refused.

    Attributes:
        manifest: of the bundle.
        variant: of it, that scored.
        rows: ``(n_rows, n_features)`` as they came.
        ids: ``(n_rows,)`` of predictions.
        outcomes: ``(n_rows,)``
        row_us: microseconds that a row took.
    """

    manifest: Manifest
    variant: str
    rows: Sequence[RawRow]
    ids: Sequence[str]
    outcomes: Sequence[Prediction | RowError]
    row_us: float


class Feedback(Protocol):
    """Takes what a service scored; called by the thread of the event loop, which it never holds up."""

    def count(self, scored: ScoredRows) -> None:
        """Take the rows of one request."""
        ...

    def take_over(self, manifest: Manifest, variant: str) -> None:
        """Take the word that another bundle answers from now on."""
        ...

    def tell_refusal(self, reason: str) -> None:
        """Take the word that a bundle was not let take over."""
        ...
