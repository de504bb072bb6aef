"""Runs native variants with the engine of `edge_agent.engine`: model tables, no packages, no numpy."""

import itertools
import struct
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge_agent.engine.face import PORTABLE
from edge_agent.engine.loading import FaceName, load_engine
from edge_agent.errors import BundleError, RowError
from edge_agent.scoring.runtime import Bound

_SCORE_ERRORS: Final = (ValueError, TypeError, OverflowError, RuntimeError)


class NativeRuntime:
    """One model table; implements `edge_agent.scoring.runtime.Runtime`."""

    def __init__(
        self, path: Path, n_features: int, n_outputs: int, *, portable: bool = False, face: FaceName | None = None
    ) -> None:
        """Load ``path``.

        Args:
            path: the table.
            n_features: numbers of a row.
            n_outputs: numbers of an answer.
            portable: use nothing that not every processor of this architecture has.
            face: how the engine is called; None: the fastest way.

        Raises:
            ImportError: there is no engine for this machine.
            BundleError: no table that the engine can run, or not one of ``n_features`` and ``n_outputs``.
        """
        engine = load_engine(face)
        try:
            self._model = engine.open(path.read_bytes(), PORTABLE if portable else 0)
        except (OSError, ValueError, MemoryError) as error:
            msg = f"{path}: the native engine cannot load it: {str(error) or type(error).__name__}"
            raise BundleError(msg) from error
        if (self._model.n_features, self._model.n_outputs) != (n_features, n_outputs):
            found = f"takes {self._model.n_features} features and answers {self._model.n_outputs} outputs"
            self._model.close()
            raise BundleError(f"{path}: {found}, its manifest has {n_features} and {n_outputs}")
        self._score = self._model.score
        self._pack = struct.Struct(f"={n_features}f").pack_into

    def score(self, row: Sequence[float]) -> Sequence[float]:
        """Score one row; see `Runtime.score`."""
        try:
            return self._score(row)
        except _SCORE_ERRORS as error:
            raise RowError("runtime", f"native engine: {error}") from error

    def score_batch(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Score many rows at once; see `Runtime.score_batch`."""
        n_features, n_outputs = self._model.n_features, self._model.n_outputs
        if not rows:
            return []
        given, answers = bytearray(4 * n_features * len(rows)), bytearray(4 * n_outputs * len(rows))
        try:
            for at, row in zip(itertools.count(0, 4 * n_features), rows, strict=False):
                self._pack(given, at, *row)
            self._model.score_into(given, answers)
        except (struct.error, *_SCORE_ERRORS) as error:
            raise RowError("runtime", f"native engine, {len(rows)} rows: {error}") from error
        numbers = array("f", bytes(answers)).tolist()
        return [numbers[at : at + n_outputs] for at in range(0, len(numbers), n_outputs)]

    def bind(self, capacity: int) -> Bound:
        """Bind it to buffers; see `BlockRuntime.bind`."""
        n_features, n_outputs = self._model.n_features, self._model.n_outputs
        rows, answers = bytearray(4 * n_features * capacity), bytearray(4 * n_outputs * capacity)
        entry, answer = bytearray(4 * n_features), bytearray(4 * n_outputs)
        score_into, given, taken = self._model.score_into, memoryview(rows), memoryview(answers)

        def run_many(n: int) -> None:
            score_into(given[: 4 * n_features * n], taken[: 4 * n_outputs * n])

        return Bound(rows, answers, entry, answer, score_into, (entry, answer), run_many, _SCORE_ERRORS)

    def close(self) -> None:
        """Give back the model's memory."""
        self._model.close()
