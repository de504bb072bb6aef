"""Scores a row: encode it, ask the model, ask the second model, and say how far both agree.

This is the hot path. It reads no clock, touches no disk, and knows neither where rows come from nor where answers go.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from broker.messages import CONFIDENCE_BINS
from edge_agent.bundle import Manifest, n_agreement_bins
from edge_agent.errors import RowError
from edge_agent.scoring.row_block import BlockScorer, open_block
from edge_agent.scoring.runtime import Runtime
from edge_agent.scoring.schema import EncodedRow, RawRow, RowEncoder
from edge_agent.scoring.second_model import SecondModel


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """The answer for one row.

    Attributes:
        label_index: index of the most probable label; None for regression.
        label: its name; None for regression.
        value: the label's index as a number, or the predicted value: what a `Sample` carries as its prediction.
        confidence: probability of the predicted label; 0 for regression.
        agrees: classification: the second model chooses the same label. Regression: the disagreement falls into the
            lower half of the manifest's disagreement bins.
        agreement_bin: place in ``TelemetryWindow.agreement``.
        uncertainty: how much a label of this row would teach: 1 - confidence, or |prediction - second model|.
        outputs: ``(n_outputs,)`` numbers of the model.
        abstained: the confidence lies below what the device was told to act upon: `label` is not to be acted upon.
    """

    label_index: int | None
    label: str | None
    value: float
    confidence: float
    agrees: bool
    agreement_bin: int
    uncertainty: float
    outputs: Sequence[float]
    abstained: bool = False


class Scorer:
    """One bundle's way from a raw row to a prediction; used by one thread.

    Attributes:
        manifest: the bundle that scores.
        row: the row scored last, as the model got it; filled again by the next one.
        block: scores rows that are there together; None: here they go one by one.
        abstain_below: predictions of less confidence are marked as abstained; 0: none is.
    """

    def __init__(self, manifest: Manifest, runtime: Runtime) -> None:
        self.manifest = manifest
        self._runtime = runtime
        self._encoder = RowEncoder(manifest)
        self._second = SecondModel(manifest.estimation.second_model)
        self._labels = manifest.labels
        self._edges = manifest.estimation.disagreement_edges
        self._lower_half = (n_agreement_bins(manifest) + 1) // 2
        self.row = EncodedRow(len(manifest.features))
        self.abstain_below = 0.0
        # Opened before the first row, by whoever opens the bundle: between two rows it would be a pause.
        self.block: BlockScorer | None = open_block(manifest, runtime)

    def scored(self, place: int) -> Prediction:
        """Return the prediction of a row that `block` scored last, by its place."""
        if self.block is None:
            raise ValueError("there is no block: rows are scored one by one here")
        index, value, confidence, agrees, agreement, uncertainty, _ = self.block.block.answer(place)
        outputs = self.block.block.outputs(place)
        if not self._labels:
            return Prediction(None, None, value, 0.0, bool(agrees), agreement, uncertainty, outputs)
        label, abstained = self._labels[index], confidence < self.abstain_below
        return Prediction(index, label, value, confidence, bool(agrees), agreement, uncertainty, outputs, abstained)

    def score(self, raw: RawRow) -> Prediction:
        """Score one row of a source, ``(n_features,)`` in the manifest's order.

        Raises:
            RowError: the row was refused by a rule of its features, or (kind ``runtime``) the model failed on it.
        """
        self.row = self._encoder.encode(raw)
        return self._predict(self.row, self._runtime.score(self.row.values))

    def score_indexed(self, row: Sequence[float | None]) -> Prediction:
        """Score one row whose categories are indices already (``ScoreRow``); raise as `score` does."""
        self.row = self._encoder.encode_indexed(row)
        return self._predict(self.row, self._runtime.score(self.row.values))

    def score_batch(self, rows: Sequence[RawRow]) -> list[Prediction | RowError]:
        """Score many rows with one call of the runtime; a refused row stands as its error, in its place.

        Raises:
            RowError: kind ``runtime``: the model failed on the whole batch.
        """
        answers: list[Prediction | RowError] = []
        accepted: list[tuple[int, EncodedRow]] = []
        for place, raw in enumerate(rows):
            try:
                encoded = self._encoder.encode(raw)
            except RowError as error:
                answers.append(error)
                continue
            kept = EncodedRow(len(encoded.values))
            kept.values, kept.has_missing = encoded.values.copy(), encoded.has_missing
            accepted.append((place, kept))
            answers.append(RowError("runtime", "not scored"))
        if not accepted:
            return answers
        outputs = self._runtime.score_batch([row.values for _, row in accepted])
        for (place, row), output in zip(accepted, outputs, strict=True):
            try:
                answers[place] = self._predict(row, output)
            except RowError as error:
                answers[place] = error
        return answers

    def close(self) -> None:
        """Give back the runtime's memory."""
        # It holds the runtime's buffers.
        self.block = None
        self._runtime.close()

    def _predict(self, row: EncodedRow, outputs: Sequence[float]) -> Prediction:
        if not math.isfinite(sum(outputs)):
            raise RowError("runtime", f"the model answered {list(outputs)[:8]}, which is not finite")
        second = self._second.score(row.values, has_missing=row.has_missing)
        if not self._labels:
            value = outputs[0]
            distance = abs(value - second[0])
            place = bisect_right(self._edges, distance)
            return Prediction(None, None, value, 0.0, place < self._lower_half, place, distance, outputs)
        top = max(outputs)
        index = outputs.index(top)
        # Float32 probabilities may sum to a hair more than 1.
        confidence = min(max(top, 0.0), 1.0)
        agrees = second.index(max(second)) == index
        place = agrees * CONFIDENCE_BINS + min(int(confidence * CONFIDENCE_BINS), CONFIDENCE_BINS - 1)
        label = self._labels[index]
        abstained = confidence < self.abstain_below
        return Prediction(index, label, float(index), confidence, agrees, place, 1.0 - confidence, outputs, abstained)


def prediction_text(manifest: Manifest, prediction: Prediction) -> str:
    """Return a prediction in the words of its bundle, for people."""
    if prediction.label is None:
        return f"{prediction.value:.6g}"
    return f"{prediction.label} ({prediction.confidence:.0%} sure of {len(manifest.labels)} labels)"
