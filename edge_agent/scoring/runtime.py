"""The protocols behind which the runtimes stand."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


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


class Bound(NamedTuple):
    """A runtime that scores between buffers of float32 which stay where they are.

    Of Python's own library: an emulated board runs a variant by this module and the adapter alone, and for 32 bits
    there is no wheel of msgspec.

    Attributes:
        rows, answers: ``(capacity, n_features)`` and ``(capacity, n_outputs)``.
        entry, exit: ``(n_features,)`` and ``(n_outputs,)``: one row.
        run: scores what stands in `entry` into `exit`, when called with `arguments`.
        run_many: scores the first n of `rows` into `answers`; None: the runtime gains nothing from more than one row.
        errors: what `run` and `run_many` raise when the runtime fails on a row.
    """

    rows: "WriteableBuffer"
    answers: "WriteableBuffer"
    entry: "WriteableBuffer"
    exit: "WriteableBuffer"
    run: Callable[..., object]
    arguments: tuple[object, ...]
    run_many: Callable[[int], object] | None
    errors: tuple[type[Exception], ...]


@runtime_checkable
class BlockRuntime(Protocol):
    """A runtime that can be bound to buffers."""

    def bind(self, capacity: int) -> Bound | None:
        """Bind it to new buffers for so many rows; None: this model cannot be."""
        ...
