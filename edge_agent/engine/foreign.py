"""The engine through ctypes: for interpreters that cannot load the extension module."""

import ctypes
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_agent.engine.face import INTERFACE, EngineModel

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_FLOAT_BYTES: Final = 4
_NO_MEMORY: Final = 12
_FORMATS: Final = ("f", "<f", "=f", "@f", "B")


class ForeignEngine:
    """Implements `edge_agent.engine.face.Engine`."""

    def __init__(self, library: Path) -> None:
        """Load the library.

        Raises:
            ImportError: it cannot be loaded, or is of another version than this module.
        """
        try:
            self._library = ctypes.CDLL(str(library))
            _declare(self._library)
            interface = self._library.fl_interface()
        except (OSError, AttributeError) as error:
            raise ImportError(f"{library}: cannot be loaded: {error}") from error
        if interface != INTERFACE:
            raise ImportError(f"{library}: its interface is {interface}, this module calls {INTERFACE}: build it anew")

    def open(self, table: "ReadableBuffer", flags: int, /) -> EngineModel:
        """Open a table; see `Engine.open`."""
        data = bytes(table)
        refusal = (ctypes.c_uint32 * 2)()
        pointer = self._library.fl_open(data, len(data), flags, refusal)
        if pointer:
            return _ForeignModel(self._library, pointer)
        status, operation = refusal
        if status == _NO_MEMORY:
            raise MemoryError
        raise ValueError(f"operation {operation}: {self._library.fl_reason(status).decode()}")


class _ForeignModel:
    """Implements `edge_agent.engine.face.EngineModel`."""

    def __init__(self, library: Any, pointer: int) -> None:  # noqa: ANN401 - ctypes makes the functions as they are asked
        self._library = library
        self._pointer: int | None = pointer
        self.n_features: int = library.fl_n_features(pointer)
        self.n_outputs: int = library.fl_n_outputs(pointer)
        self.n_operations: int = library.fl_n_operations(pointer)
        self.memory_bytes: int = library.fl_memory(pointer)
        self._row = ctypes.create_string_buffer(self.n_features * _FLOAT_BYTES)
        self._answer = ctypes.create_string_buffer(self.n_outputs * _FLOAT_BYTES)
        self._pack = struct.Struct(f"={self.n_features}f").pack_into
        self._unpack = struct.Struct(f"={self.n_outputs}f").unpack
        self._score = library.fl_score
        self._arguments = (1, ctypes.addressof(self._row), ctypes.addressof(self._answer))
        # ctypes gives the interpreter's lock away while the engine runs.
        self._use = threading.Lock()

    def score(self, row: "Sequence[float] | ReadableBuffer", /) -> list[float]:
        """Score one row; see `EngineModel.score`."""
        if not isinstance(row, list | tuple):
            row = _numbers_of(row)
        with self._used() as pointer:
            try:
                self._pack(self._row, 0, *row)
            except struct.error as error:
                raise ValueError(f"row of {len(row)} values, the model takes {self.n_features}: {error}") from error
            self._score(pointer, *self._arguments)
            return list(self._unpack(self._answer))

    def score_into(self, rows: "ReadableBuffer", answers: "WriteableBuffer", /) -> None:
        """Score rows; see `EngineModel.score_into`."""
        given, taken = memoryview(rows).cast("B"), memoryview(answers).cast("B")
        row_bytes, answer_bytes = self.n_features * _FLOAT_BYTES, self.n_outputs * _FLOAT_BYTES
        n_rows = given.nbytes // row_bytes
        if n_rows * row_bytes != given.nbytes or n_rows * answer_bytes != taken.nbytes:
            raise ValueError(
                f"buffers of {given.nbytes} and {taken.nbytes} bytes are not rows of {self.n_features} float32 "
                f"and answers of {self.n_outputs}"
            )
        # ctypes takes the address of writable memory only.
        source = bytes(given) if given.readonly else (ctypes.c_char * given.nbytes).from_buffer(given)
        with self._used() as pointer:
            self._score(pointer, n_rows, source, (ctypes.c_char * taken.nbytes).from_buffer(taken))

    def layout(self, operation: int, /) -> str:
        """Say how trees are walked; see `EngineModel.layout`."""
        with self._used() as pointer:
            text: bytes = self._library.fl_layout(pointer, operation)
        return text.decode()

    def close(self) -> None:
        """Give back the model's memory."""
        if self._pointer is None:
            return
        with self._used() as pointer:
            self._pointer = None
            self._library.fl_close(pointer)

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def _used(self) -> Iterator[int]:
        if not self._use.acquire(blocking=False):
            raise RuntimeError("the model is scoring for another caller: one model a thread")
        try:
            if self._pointer is None:
                raise ValueError("the model is closed")
            yield self._pointer
        finally:
            self._use.release()


def _numbers_of(row: "Sequence[float] | ReadableBuffer") -> Sequence[float]:
    """Return the numbers of a row that is no list: bytes are taken for float32 as they lie in memory."""
    try:
        view = memoryview(row)  # type: ignore[arg-type]  # what is no buffer says so
    except TypeError:
        return list(row)  # type: ignore[arg-type]  # then it is a sequence
    if view.format not in _FORMATS or not view.c_contiguous:
        return list(row)  # type: ignore[arg-type]  # as above
    return view.cast("B").cast("f").tolist()


def _declare(library: Any) -> None:  # noqa: ANN401 - as above
    """Tell ctypes the types of engine.h."""
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "fl_interface": (number, ()),
        "fl_open": (pointer, (pointer, size, number, ctypes.POINTER(ctypes.c_uint32))),
        "fl_close": (None, (pointer,)),
        "fl_reason": (ctypes.c_char_p, (number,)),
        "fl_n_features": (number, (pointer,)),
        "fl_n_outputs": (number, (pointer,)),
        "fl_n_operations": (number, (pointer,)),
        "fl_memory": (ctypes.c_uint64, (pointer,)),
        "fl_layout": (ctypes.c_char_p, (pointer, number)),
        "fl_score": (None, (pointer, size, pointer, pointer)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
