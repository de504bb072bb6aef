"""Scores the parts of a file on a Dask cluster: the variant is sent to each worker once, a part to one of them.

Rows are read and answers are written here, in their order: a worker that dies has its parts scored by another one, and
what is kept is the same to the byte. About two parts a thread are on their way at a time, however long the file is.
"""

import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from edge_agent.bundle import Manifest, Variant, bundle_files, parse_manifest
from edge_agent.clock import Clock
from edge_agent.scoring.implementations import libraries_of
from exporter.bundles.source import read_bundle
from trainer.errors import DataError
from trainer.project.cluster import ClusterSection
from trainer.serving.batch.answers import AnswerColumns
from trainer.serving.batch.model import opened_variant
from trainer.serving.batch.scoring import PartScorer, Place, ScoredPart, file_bytes

if TYPE_CHECKING:
    from trainer.cluster.crew import Crew, Task

_PACKAGES: Final = ("numpy", "pyarrow", "msgspec")
_AHEAD: Final = 2


@contextmanager
def opened_place(
    columns: AnswerColumns,
    *,
    bundle: Path,
    variant: Variant,
    probabilities: bool,
    cluster: ClusterSection,
    clock: Clock,
) -> Iterator[Place]:
    """Have a cluster score parts, each with the answers that the columns say.

    Args:
        columns: of the answers.
        bundle: of the model: a folder, or one in a file.
        variant: that scores; the others are not sent.
        probabilities: whether each label has a column of its own.
        cluster: with an address.
        clock: for how long is waited.

    Raises:
        ClusterError: it does not answer, or a worker is not as this machine is, or cannot run the variant.
        MissingProgramError: Dask is not installed.
    """
    from trainer.cluster.opening import opened_crew  # noqa: PLC0415 - without a cluster nobody needs Dask

    packages = (*_PACKAGES, *libraries_of(variant.runtime))
    data = _kit_bytes(bundle, variant, columns, probabilities=probabilities)
    with opened_crew(cluster, _opened_scorers, data, clock=clock, packages=packages) as crew:
        yield _OnCluster(crew)


class _OnCluster:
    def __init__(self, crew: "Crew") -> None:
        self._crew = crew

    def scored(self, tables: Iterator[Any], first_row: int) -> Iterator[ScoredPart]:
        waiting: deque[Task[ScoredPart]] = deque()
        n_ahead = max(1, _AHEAD * self._crew.n_threads)
        try:
            for table in tables:
                waiting.append(self._crew.give(f"rows {first_row}", _score_there, file_bytes(table), first_row))
                first_row += table.num_rows
                while len(waiting) >= n_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for task in waiting:
                task.drop()


class _Told(msgspec.Struct, frozen=True):
    manifest: bytes
    variant: str
    file: bytes
    kept: bytes
    probabilities: bool


def _kit_bytes(bundle: Path, variant: Variant, columns: AnswerColumns, *, probabilities: bool) -> bytes:
    with read_bundle(bundle) as source:
        file = next((one for one in bundle_files(source.manifest) if one.name == variant.file), None)
        if file is None:
            raise DataError(f"{bundle}: it was changed since it was opened: {variant.name} is no longer in it")
        content = b"".join(source.chunks(file))
        kept = pa.schema([columns.schema.field(name) for name in columns.kept]).serialize().to_pybytes()
        return msgspec.msgpack.encode(_Told(source.manifest_data, variant.name, content, kept, probabilities))


class _Scorers:
    """What a worker scores with: a model for each of its threads, opened when it is first needed."""

    def __init__(self, folder: Path, manifest: Manifest, variant: Variant, columns: AnswerColumns) -> None:
        self._what = folder, manifest, variant
        self._columns = columns
        self._free: list[tuple[PartScorer, ExitStack]] = []
        self._lock = Lock()
        self._is_closed = False

    def score(self, rows: bytes, first_row: int) -> ScoredPart:
        with self._lock:
            taken = self._free.pop() if self._free else None
        scorer, stack = taken or self.opened()
        try:
            return scorer.score(pa.ipc.open_file(rows).read_all(), first_row)
        finally:
            self.give_back(scorer, stack)

    def opened(self) -> tuple[PartScorer, ExitStack]:
        stack = ExitStack()
        return PartScorer(stack.enter_context(opened_variant(*self._what)), self._columns), stack

    def give_back(self, scorer: PartScorer, stack: ExitStack) -> None:
        with self._lock:
            if not self._is_closed:
                self._free.append((scorer, stack))
                return
        stack.close()

    def close(self) -> None:
        # One that still scores is closed when it is given back.
        with self._lock:
            self._is_closed = True
        for _, stack in self._free:
            stack.close()


@contextmanager
def _opened_scorers(data: bytes) -> Iterator[_Scorers]:
    told = msgspec.msgpack.decode(data, type=_Told)
    manifest = parse_manifest(told.manifest)
    variant = next(variant for variant in manifest.variants if variant.name == told.variant)
    kept = pa.ipc.read_schema(pa.py_buffer(told.kept))
    columns = AnswerColumns(manifest, {field.name: field.type for field in kept}, probabilities=told.probabilities)
    with tempfile.TemporaryDirectory(prefix="fieldloop-") as folder:
        (Path(folder) / variant.file).write_bytes(told.file)
        scorers = _Scorers(Path(folder), manifest, variant, columns)
        # The first one proves the variant here, before any part is scored.
        scorers.give_back(*scorers.opened())
        try:
            yield scorers
        finally:
            scorers.close()


def _score_there(scorers: _Scorers, rows: bytes, first_row: int) -> ScoredPart:
    return scorers.score(rows, first_row)
