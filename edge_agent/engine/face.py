"""What every way to call the engine gives: one protocol, for the extension module and for ctypes alike."""

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import ReadableBuffer, WriteableBuffer

# Flag of `Engine.open`: use nothing that not every processor of this architecture has.
PORTABLE: Final = 1
# `fl_interface()` of the sources beside this file.
INTERFACE: Final = 1


class EngineModel(Protocol):
    """A table that is open; used by one thread at a time."""

    @property
    def n_features(self) -> int:
        """Numbers of a row."""
        ...

    @property
    def n_outputs(self) -> int:
        """Numbers of an answer."""
        ...

    @property
    def n_operations(self) -> int:
        """Operations of the table."""
        ...

    @property
    def memory_bytes(self) -> int:
        """The model's one block of memory."""
        ...

    def score(self, row: "Sequence[float] | ReadableBuffer", /) -> list[float]:
        """Score one row: ``(n_features,)`` numbers, or a buffer of float32 (as bytes too); returns ``(n_outputs,)``.

        Raises:
            ValueError: a row of another length.
            OverflowError: a number that float32 cannot hold.
            RuntimeError: the model is scoring for another caller.
        """
        ...

    def score_into(self, rows: "ReadableBuffer", answers: "WriteableBuffer", /) -> None:
        """Score ``(n, n_features)`` float32 into ``(n, n_outputs)`` float32, both as bytes that lie together.

        Raises:
            ValueError: the buffers' sizes do not fit each other.
            RuntimeError: the model is scoring for another caller.
        """
        ...

    def layout(self, operation: int, /) -> str:
        """Say how the trees of an operation are walked: narrow, wide, plain or bands; empty for other operations."""
        ...

    def close(self) -> None:
        """Give back the model's memory."""
        ...


class Engine(Protocol):
    """An engine that is loaded."""

    def open(self, table: "ReadableBuffer", flags: int, /) -> EngineModel:
        """Open a table.

        Raises:
            ValueError: the table is not what the format says; the message names the operation.
            MemoryError: this device has not the memory now.
        """
        ...
