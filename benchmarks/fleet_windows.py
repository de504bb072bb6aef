"""Telemetry of a made-up fleet: windows of 64 features × 10 bins over 600 rows, the same for the same seed."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from broker.messages import BundleRef, Epoch, FeatureCounts, RecordKey, Resources, TelemetryWindow
from broker.topics import DeviceId

N_FEATURES: Final = 64
N_BINS: Final = 10
ROWS: Final = 600
START_UTC_S: Final = 1_764_000_000.0
WINDOW_S: Final = 600.0
BUNDLE: Final = BundleRef("bench", 1)


def make_window(rng: np.random.Generator, number: int) -> TelemetryWindow:
    """Return the window of this number, counting from 0."""
    features = rng.multinomial(ROWS, np.full(N_BINS, 1 / N_BINS), size=N_FEATURES).tolist()
    latency = rng.multinomial(ROWS, np.full(12, 1 / 12)).tolist()
    predictions = rng.multinomial(ROWS, np.full(10, 0.1)).tolist()
    agreement = rng.multinomial(ROWS, np.full(20, 0.05)).tolist()
    return TelemetryWindow(
        bundle=BUNDLE,
        variant="onnx-int8",
        started_utc_s=START_UTC_S + number * WINDOW_S,
        ended_utc_s=START_UTC_S + (number + 1) * WINDOW_S,
        first_row=number * ROWS,
        last_row=(number + 1) * ROWS - 1,
        rows_scored=ROWS,
        rows_refused=(),
        features=tuple(FeatureCounts(tuple(counts)) for counts in features),
        predictions=tuple(predictions),
        agreement=tuple(agreement),
        latency=tuple(enumerate(latency, start=140)),
        errors=(),
        resources=Resources(rss_bytes=61_000_000, cpu_s=0.5 * number, free_disk_bytes=20_000_000_000),
    )


def make_records(
    n: int, devices: Sequence[DeviceId], seed: int
) -> Iterator[tuple[DeviceId, RecordKey, TelemetryWindow]]:
    """Give n records, the devices in turn, each device's without a hole."""
    rng = np.random.default_rng(seed)
    # A new window for each record would cost more than to receive it.
    windows = [make_window(rng, number) for number in range(50)]
    for index in range(n):
        sequence = index // len(devices) + 1
        yield (
            devices[index % len(devices)],
            RecordKey(Epoch(7), sequence, sequence - 1),
            windows[index % len(windows)],
        )
