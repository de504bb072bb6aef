"""What every way to call the engine gives: one protocol, for the extension module and for ctypes alike."""

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

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


class RowBlock(Protocol):
    """A block of rows on their way through the agent; used by one thread. A row's place is its place in its list.

    Rows come in a list, nothing else: objects with ``number`` and ``values`` (`edge_agent.sensing.source.SourceRow`).
    """

    @property
    def place(self) -> int:
        """Place of the row that was being scored when `score_each` raised."""
        ...

    @property
    def knows_objects(self) -> int:
        """1: it reads Python's numbers where they lie in memory; 0: by a call for each."""
        ...

    def encode(self, rows: "Sequence[Any]", start: int, /) -> int:
        """Check and encode rows from ``start`` on; return the place of one that Python must look at, or their number.

        Raises:
            ValueError: more rows than the block takes.
        """
        ...

    def put(self, place: int, values: "list[float]", out_of_range: "list[int]", /) -> None:
        """Take a row that Python encoded.

        Raises:
            OverflowError: a number that float32 cannot hold.
        """
        ...

    def score_each(
        self,
        start: int,
        n: int,
        run: "Callable[..., object]",
        arguments: "tuple[object, ...]",
        clock: "Callable[[], float]",
        more_us: float,
        /,
    ) -> None:
        """Score the encoded rows of places ``start`` to ``n``, one call of ``run`` each; raise what it raises.

        Args:
            start: place of the first.
            n: place after the last.
            run: scores the one row that stands in the block's ``entry`` into its ``exit``.
            arguments: of ``run``.
            clock: seconds; a row's latency is taken between two calls of it.
            more_us: is added to each latency.
        """
        ...

    def scored(self, n: int, latency_us: float, /) -> None:
        """Say that the answers of the first ``n`` rows stand in the block's answers."""
        ...

    def settle(self, n: int, /) -> int:
        """Decide and count the scored rows among the first ``n``; return how many had an answer that is finite."""
        ...

    def states(self, n: int, /) -> bytes:
        """Return what became of the first ``n`` rows, one byte each: `NOT_TAKEN`, `TAKEN`, `SCORED` or `COUNTED`."""
        ...

    def answer(self, place: int, /) -> "Answer":
        """Return what is known of a scored row."""
        ...

    def outputs(self, place: int, /) -> tuple[float, ...]:
        """Return ``(n_outputs,)``, what the model answered for a scored row."""
        ...

    def values(self, place: int, /) -> "tuple[float | None, ...]":
        """Return ``(n_features,)`` of an encoded row; None where missing."""
        ...

    def packed(self, place: int, /) -> bytes:
        """Return ``(n_features,)`` of an encoded row as bytes of float64; NaN where missing."""
        ...

    def lines(
        self, rows: "Sequence[Any]", begin: bytes, middle: bytes, labels: "tuple[bytes, ...]", abstain_below: float, /
    ) -> bytes:
        """Write one line for each counted row; see `edge_agent.sensing.answer_lines`."""
        ...

    def counts(self) -> "tuple[bytes, int, bytes]":
        """Return what was counted since the last call: counts (uint64), the lowest latency bucket, buckets (uint32).

        Counts are, for each feature its bins and the missing, for each feature those out of range, then predictions,
        then agreement.
        """
        ...

    def portable(self) -> None:
        """Use nothing from now on that not every processor or version of Python has; the answers are the same."""
        ...

    def forget(self) -> None:
        """Forget what was counted since the last `counts`."""
        ...


# Of one row: label, value, confidence, agrees, agreement, uncertainty, latency in microseconds.
Answer = tuple[int, float, float, int, int, float, float]

# What `RowBlock.states` says of a row.
NOT_TAKEN: Final = 0
TAKEN: Final = 1
SCORED: Final = 2
COUNTED: Final = 3
# Flags of a feature.
IS_CATEGORY: Final = 1
REFUSES_MISSING: Final = 2
REFUSES_OUT_OF_RANGE: Final = 4


class RowEngine(Protocol):
    """The engine as an extension module: it makes blocks of rows as well."""

    def rows(  # noqa: PLR0913, PLR0917 - the parts of a bundle, once each
        self,
        capacity: int,
        n_outputs: int,
        n_agreement: int,
        is_classification: int,
        categories: "tuple[dict[str, float] | None, ...]",
        flags: bytes,
        limits: "ReadableBuffer",
        starts: "ReadableBuffer",
        edges: "ReadableBuffer",
        output_edges: "ReadableBuffer",
        disagreement_edges: "ReadableBuffer",
        means: "ReadableBuffer",
        slopes: "ReadableBuffer",
        intercepts: "ReadableBuffer",
        rows: "WriteableBuffer",
        answers: "WriteableBuffer",
        entry: "WriteableBuffer",
        exit: "ReadableBuffer",  # noqa: A002 - what the engine calls it
        /,
    ) -> RowBlock:
        """Make a block.

        Args:
            capacity: rows that it takes.
            n_outputs: numbers of an answer.
            n_agreement: length of ``TelemetryWindow.agreement``.
            is_classification: 1: the outputs are probabilities of labels; 0: one number.
            categories: by feature the index of each name, None for numbers.
            flags: one byte a feature.
            limits: ``(n_features, 2) float64``: least and greatest number that is in range.
            starts: ``(n_features + 1,) uint32``: where the edges of each feature begin.
            edges: float64, ascending for each feature.
            output_edges: float64, ascending.
            disagreement_edges: float64, ascending.
            means: ``(n_features,) float64``: what the second model takes for a missing number.
            slopes: ``(n_features, n_outputs) float64`` of the second model.
            intercepts: ``(n_outputs,) float64``.
            rows: ``(capacity, n_features) float32``, is written.
            answers: ``(capacity, n_outputs) float32``, is read, and by `RowBlock.score_each` written.
            entry: ``(n_features,) float32``: the runtime's one row.
            exit: ``(n_outputs,) float32``: its answer.

        Raises:
            ValueError: parts that do not fit each other.
        """
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
