"""Scores blocks of encoded rows with one runtime, through its own buffers where it has some."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import MANIFEST_NAME, Manifest, Variant, parse_manifest
from edge_agent.errors import RowError
from edge_agent.scoring.device import read_device
from edge_agent.scoring.golden import verify_golden
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.runtime import BlockRuntime, Runtime
from edge_agent.scoring.selection import choose_variant
from exporter.bundles.source import open_bundle

_BLOCK_BYTES: Final = 1 << 20
_MAX_ROWS: Final = 8192


class BlockModel:
    """One opened variant.

    Attributes:
        manifest: of its bundle.
        variant: that runs.
        capacity: rows of a block.
        rows: ``(capacity, n_features) float32``: where a block stands that is scored.
    """

    def __init__(self, manifest: Manifest, variant: Variant, runtime: Runtime) -> None:
        self.manifest = manifest
        self.variant = variant
        n_features = len(manifest.features)
        self.capacity = max(1, min(_MAX_ROWS, _BLOCK_BYTES // (4 * n_features)))
        self._runtime = runtime
        self._bound = runtime.bind(self.capacity) if isinstance(runtime, BlockRuntime) else None
        shape, n_outputs = (self.capacity, n_features), manifest.n_outputs
        if self._bound is None:
            self.rows: NDArray[np.float32] = np.zeros(shape, dtype=np.float32)
        else:
            self.rows = _as_array(self._bound.rows, shape)
            self._answers = _as_array(self._bound.answers, (self.capacity, n_outputs))

    def score(self, n: int, into: NDArray[np.float32], refused: dict[int, RowError]) -> None:
        """Score the first ``n`` of `rows`.

        Args:
            n: rows of this block.
            into: ``(n, n_outputs) float32``; filled, with NaN in rows that have no answer.
            refused: by place, rows that are not scored; those that the model fails on, or that it answers with what is
                no number, come to them.
        """
        if not self._score_together(n, into):
            self._score_each(n, into, refused)
        into[list(refused)] = np.nan
        is_finite = np.isfinite(into).all(axis=1)
        for place in np.flatnonzero(~is_finite).tolist():
            if place not in refused:
                answer = into[place, :8].tolist()
                refused[place] = RowError("runtime", f"the model answered {answer}, which is not finite")
                into[place] = np.nan

    def _score_together(self, n: int, into: NDArray[np.float32]) -> bool:
        bound = self._bound
        if bound is None or bound.run_many is None:
            return False
        try:
            bound.run_many(n)
        except Exception:  # noqa: BLE001 - which row it was is found out one by one
            return False
        into[:] = self._answers[:n]
        return True

    def _score_each(self, n: int, into: NDArray[np.float32], refused: dict[int, RowError]) -> None:
        for place in range(n):
            if place in refused:
                continue
            try:
                into[place] = self._runtime.score(self.rows[place].tolist())
            except RowError as error:
                refused[place] = error.with_traceback(None)
                into[place] = np.nan


def _as_array(buffer: object, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return a buffer of a runtime as the array that it is, without a copy."""
    return np.frombuffer(memoryview(buffer).cast("B"), dtype=np.float32).reshape(shape)  # type: ignore[arg-type]  # buffers have no type of their own before Python 3.12


@contextmanager
def opened_model(bundle: Path) -> Iterator[BlockModel]:
    """Open a bundle and prove it here, for as long as the context lasts.

    Raises:
        BundleError: it is not what it must be, no variant runs here, or its golden rows come out otherwise.
        StorageError: it cannot be read now.
    """
    with open_bundle(bundle) as folder:
        manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
        with opened_variant(folder, manifest, choose_variant(manifest.variants, read_device())) as model:
            yield model


@contextmanager
def opened_variant(folder: Path, manifest: Manifest, variant: Variant) -> Iterator[BlockModel]:
    """Open one variant of a bundle's folder and prove it here, for as long as the context lasts.

    Raises:
        BundleError: its runtime is missing here, or its golden rows come out otherwise.
        StorageError: it cannot be read now.
    """
    runtime = open_runtime(variant, folder, manifest)
    try:
        verify_golden(manifest, variant, runtime)
        yield BlockModel(manifest, variant, runtime)
    finally:
        runtime.close()
