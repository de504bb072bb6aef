"""A fleet as a monitor sees it: a manifest with a reference from blocks, and devices that send records about rows.

One process stands behind both: each row falls into an agreement bin and is right with that bin's probability. A loss
moves rows to bins of lower confidence, or makes confident rows wrong (which no estimate can see).
"""

import random
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from broker.client import Delivery
from broker.messages import (
    BundleRef,
    Epoch,
    Event,
    FeatureCounts,
    Label,
    Labels,
    RecordKey,
    Sample,
    Samples,
    Status,
    TelemetryWindow,
    encode,
    encode_body,
    encode_record,
)
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent.bundle import (
    Estimation,
    Feature,
    FeatureReference,
    GoldenRow,
    Lineage,
    LinearModel,
    Manifest,
    Task,
    TrialRules,
    Variant,
)

FLEET = FleetId("main")
MODEL = "weather"
LABELS = ("dry", "wet")
BLOCKS, BLOCK_ROWS = 5, 400
EDGES = (-1.0, 0.0, 1.0)
DISAGREEMENT_EDGES = (0.1, 0.2, 0.4, 0.8)

# Share of rows by agreement bin (confidence 0.5 to 1 in the upper half of the bins), and how often they are right.
_CONFIDENCE = np.array([0, 0, 0, 0, 0, 0.10, 0.15, 0.2, 0.25, 0.3])
USUAL = np.concatenate([_CONFIDENCE * 0.25, _CONFIDENCE * 0.75])
RIGHT = np.concatenate([np.linspace(0.1, 0.8, 10), np.linspace(0.2, 0.95, 10)])
_UNSURE = np.array([0, 0, 0, 0, 0, 0.4, 0.3, 0.2, 0.07, 0.03])
LOSING = np.concatenate([_UNSURE * 0.5, _UNSURE * 0.5])


def make_manifest(task: Task = "classification", *, version: int = 1, seed: int = 5, block_sd: float = 0.0) -> Manifest:
    """A manifest whose reference was drawn from the usual process; ``block_sd`` makes blocks differ beyond chance."""
    rng = np.random.default_rng(seed)
    features, blocks = [], rng.normal(size=(2, BLOCKS, BLOCK_ROWS))
    for values in blocks:
        counts = tuple(_histogram(block, EDGES) for block in values)
        features.append(FeatureReference(EDGES, counts))
    if task == "classification":
        bins = rng.choice(20, size=(BLOCKS, BLOCK_ROWS), p=USUAL)
        lift = rng.normal(0, block_sd, size=(BLOCKS, 1)) if block_sd else 0.0
        quality = (rng.random(bins.shape) < RIGHT[bins] + lift).astype(float)
        output_edges: tuple[float, ...] = ()
        drawn = rng.integers(0, 2, bins.shape)
        outputs = tuple(tuple(int((block == label).sum()) for label in (0, 1)) for block in drawn)
        edges: tuple[float, ...] = ()
    else:
        difference = np.abs(rng.normal(0, 0.3, size=(BLOCKS, BLOCK_ROWS)))
        bins = np.searchsorted(DISAGREEMENT_EDGES, difference, side="right")
        quality = np.abs(rng.normal(0, 1, difference.shape)) * (0.2 + difference)
        output_edges, edges = EDGES, DISAGREEMENT_EDGES
        outputs = tuple(_histogram(block, EDGES) for block in rng.normal(size=(BLOCKS, BLOCK_ROWS)))
    n_bins = 20 if task == "classification" else len(edges) + 1
    rows = np.bincount(bins.ravel(), minlength=n_bins)
    sums = np.bincount(bins.ravel(), weights=quality.ravel(), minlength=n_bins)
    by_bin = np.divide(sums, rows, out=np.full(n_bins, quality.mean()), where=rows > 0)
    n_outputs = 2 if task == "classification" else 1
    return Manifest(
        format=1,
        name=MODEL,
        version=version,
        task=task,
        metric="accuracy" if task == "classification" else "mae",
        features=(Feature("pressure", unit="hPa"), Feature("humidity", unit="%")),
        labels=LABELS if task == "classification" else (),
        output_edges=output_edges,
        output_blocks=outputs,
        references=tuple(features),
        estimation=Estimation(
            second_model=LinearModel((0.0, 0.0), (1.0, 1.0), ((1.0, 0.0),) * n_outputs, (0.0,) * n_outputs),
            disagreement_edges=edges,
            quality=tuple(map(float, by_bin)),
            rows=tuple(map(int, rows)),
            expected_quality=float(quality.mean()),
            block_quality=tuple(map(float, quality.mean(axis=1))),
        ),
        golden=(GoldenRow((0.0, 0.0), (0.5,) * n_outputs),),
        variants=(Variant("onnx-fp32", "onnx", "model.onnx", 10, "0" * 64, 1e-4, 0.8, 5.0),),
        trial=TrialRules(),
        lineage=Lineage("run", "data", "code", "2026-11-24T00:00:00Z"),
        window_rows=50,
    )


def _histogram(values: NDArray[np.float64], edges: tuple[float, ...]) -> tuple[int, ...]:
    bins = np.searchsorted(edges, values, side="right")
    return tuple(int(n) for n in np.bincount(bins, minlength=len(edges) + 1))


def draw_window(
    rng: np.random.Generator,
    manifest: Manifest,
    *,
    rows: int = 50,
    shares: NDArray[np.float64] = USUAL,
    shift: float = 0.0,
    missing: int = 0,
    first_row: int = 0,
    at_utc_s: float = 0.0,
) -> TelemetryWindow:
    """One window of classification; ``shares`` by agreement bin, ``shift`` of the first feature's mean."""
    agreement = np.bincount(rng.choice(20, size=rows, p=shares), minlength=20)
    return window_of(
        manifest,
        rng,
        agreement=tuple(map(int, agreement)),
        rows=rows,
        shift=shift,
        missing=missing,
        first_row=first_row,
        at_utc_s=at_utc_s,
    )


def window_of(
    manifest: Manifest,
    rng: np.random.Generator,
    *,
    agreement: tuple[int, ...],
    rows: int,
    shift: float = 0.0,
    missing: int = 0,
    refused: int = 0,
    first_row: int = 0,
    at_utc_s: float = 0.0,
) -> TelemetryWindow:
    """A window with a given agreement histogram; features and predictions as usual."""
    features = (
        FeatureCounts(_histogram(rng.normal(shift, 1, rows - missing), EDGES), missing),
        FeatureCounts(_histogram(rng.normal(0, 1, rows), EDGES)),
    )
    n = len(manifest.output_blocks[0])
    predictions = tuple(int(x) for x in np.bincount(rng.integers(0, n, rows), minlength=n))
    return TelemetryWindow(
        bundle=manifest.ref,
        variant="onnx-fp32",
        started_utc_s=at_utc_s,
        ended_utc_s=at_utc_s + 1,
        first_row=first_row,
        last_row=first_row + rows - 1,
        rows_scored=rows,
        rows_refused=(("not_a_number", refused),) if refused else (),
        features=features,
        predictions=predictions,
        agreement=agreement,
        latency=((10, rows),),
        errors=(),
    )


class SimulatedDevice:
    """Speaks as an agent does: status, spooled records with growing numbers, events under an order."""

    def __init__(self, name: str, *, epoch: int = 7, seed: int = 1) -> None:
        self.name = DeviceId(name)
        self.epoch = Epoch(epoch)
        self.sequence = 0
        self.rows = 0
        self.rng = np.random.default_rng(seed)

    def topic(self, channel: Channel) -> Topic:
        return Topic(FLEET, self.name, channel)

    def status(self, bundle: BundleRef | None, *, online: bool = True, update_state: str = "idle") -> Delivery:
        status = Status(online, 0.0, "boot", "0.1", bundle, "onnx-fp32", update_state)
        return Delivery(self.topic(Channel.STATUS), encode(status), retained=True)

    def record(self, channel: Channel, body: TelemetryWindow | Samples | Event) -> Delivery:
        self.sequence += 1
        key = RecordKey(self.epoch, self.sequence, self.sequence - 1)
        return Delivery(self.topic(channel), encode_record(key, encode_body(body)), retained=False)

    def event(self, kind: str, bundle: BundleRef, order_id: str, reason: str = "") -> Delivery:
        return self.record(Channel.EVENTS, Event(kind, 0.0, "info", reason, bundle, order_id))

    def score(
        self,
        manifest: Manifest,
        *,
        at_utc_s: float,
        shares: NDArray[np.float64] = USUAL,
        right: NDArray[np.float64] = RIGHT,
        background: int = 2,
        asked: tuple[str, int] | None = None,
        missing: int = 0,
        shift: float = 0.0,
    ) -> Iterator[Delivery]:
        """One window of 50 rows, its samples, and their labels; asked rows are half uncertain, half random."""
        window = draw_window(
            self.rng, manifest, shares=shares, first_row=self.rows, at_utc_s=at_utc_s, missing=missing, shift=shift
        )
        yield self.record(Channel.TELEMETRY, window)
        reasons: list[tuple[str, str | None]] = [("background", None)] * background
        if asked is not None:
            reasons += [("uncertain", asked[0])] * (asked[1] // 2) + [("asked", asked[0])] * (asked[1] - asked[1] // 2)
        samples, labels = [], []
        for index, (reason, ask_id) in enumerate(reasons):
            is_right = self.rng.random() < float(np.dot(shares, right)) and reason != "uncertain"
            prediction = int(self.rng.integers(0, 2))
            name = f"{self.name}.{self.rows + index}"
            features = tuple(map(float, self.rng.normal(size=2)))
            samples.append(
                Sample(name, at_utc_s, features, float(prediction), 0.8, agrees=True, reason=reason, ask_id=ask_id)
            )
            labels.append(Label(name, LABELS[prediction if is_right else 1 - prediction], at_utc_s + 1))
        if samples:
            yield self.record(Channel.SAMPLES, Samples(manifest.ref, tuple(samples)))
            body = Labels("truth", tuple(labels))
            yield Delivery(self.topic(Channel.LABELS), encode(body), retained=False)
        self.rows += 50


class ManualClock:
    """A clock that a test moves."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def utc_s(self) -> float:
        return self.now_s


def seeded(seed: int = 1) -> random.Random:
    """Chance that repeats."""
    return random.Random(seed)
