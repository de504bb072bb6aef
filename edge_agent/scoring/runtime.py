"""The protocol behind which the runtimes stand."""

from collections.abc import Sequence
from typing import Protocol


class Runtime(Protocol):
    """One loaded variant of a bundle, run by one thread.

    Rows are encoded as the manifest says: one float a feature, NaN where missing, a category as its index.
    """

    def score(self, row: Sequence[float]) -> Sequence[float]:
        """Score one row.

        Args:
            row: ``(n_features,)`` numbers.

        Returns:
            ``(n_outputs,)`` numbers, probabilities by label or one value. The buffer may be reused by the next call.

        Raises:
            RowError: the runtime failed on this row.
        """
        ...

    def score_batch(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Score many rows at once; ``(n_rows, n_features)`` to ``(n_rows, n_outputs)``; raise as `score` does."""
        ...

    def close(self) -> None:
        """Give back the runtime's memory."""
        ...
