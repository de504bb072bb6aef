"""What a variant costs, as values: time, memory, bytes; measured on the machine that exports, to compare variants."""

import gzip
from typing import Final

import msgspec

from edge_agent.clock import Clock
from edge_agent.scoring.runtime import Runtime
from exporter.models.model import Rows
from exporter.proof.timing import time_batches, time_rows

BATCHES: Final = (32, 1000)
_MAX_ROWS: Final = 1000


class Latency(msgspec.Struct, frozen=True):
    """Microseconds through the runtime protocol, one thread.

    Attributes:
        median_us, p99_us: of one row.
        batch_32_us, batch_1000_us: of a row in batches; the quickest of several.
    """

    median_us: float
    p99_us: float
    batch_32_us: float = 0.0
    batch_1000_us: float = 0.0


class Memory(msgspec.Struct, frozen=True):
    """Memory of a process that loads the runtime and the file and scores, above that of bare Python.

    Attributes:
        runtime_bytes: resident after the runtime is loaded, without a model.
        peak_bytes: greatest resident size while the file was loaded and rows were scored.
        pss_bytes: proportional share after scoring: what is shared with other processes counts in part.
    """

    runtime_bytes: int
    peak_bytes: int
    pss_bytes: int


def measure_latency(runtime: Runtime, rows: Rows, clock: Clock) -> Latency:
    """Time single rows and batches.

    Args:
        runtime: loaded variant.
        rows: ``(n, n_features) float32``, at least one.
        clock: its monotonic side times each call.
    """
    plain: list[list[float]] = rows[:_MAX_ROWS].tolist()
    median_us, p99_us = time_rows(runtime, plain, clock)
    return Latency(median_us, p99_us, *(time_batches(runtime, plain, size, clock) for size in BATCHES))


def gzip_bytes_of(data: bytes) -> int:
    """Return how many bytes are left of a file on the way to a device that asks for gzip, at the usual level."""
    return len(gzip.compress(data, compresslevel=6, mtime=0))
