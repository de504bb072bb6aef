"""Answers one request of the Open Inference Protocol with one scorer: from bytes to bytes, without any I/O."""

import itertools
from collections.abc import Iterator, Sequence
from http import HTTPStatus

import numpy as np
from msgspec.structs import replace

from edge_agent.bundle import Manifest
from edge_agent.errors import RowError
from edge_agent.raw_signal import Signal, columns_of
from edge_agent.scoring.schema import MISSING, RawRow
from edge_agent.scoring.scorer import Prediction, Scorer
from edge_agent.scoring.windows import Extractor
from edge_agent.sensing.http_message import HttpError, Response
from edge_agent.sensing.inference_protocol import Inference, Scored, inference_response, parse_rows


class PredictionIds:
    """Gives each answered row an id that no other row of any service has; used by one thread."""

    def __init__(self, prefix: str) -> None:
        """Begin; ``prefix`` is this run of the service's own."""
        self._prefix = prefix
        self._numbers = itertools.count()

    def take(self, n: int) -> list[str]:
        """Return so many new ids."""
        return [f"{self._prefix}-{number}" for number in itertools.islice(self._numbers, n)]

    def beside(self, mark: str) -> Iterator[str]:
        """Return ids without end that are none of these, for another thread."""
        return (f"{self._prefix}{mark}-{number}" for number in itertools.count())


class Rows:
    """Rows that are there and not scored yet.

    Attributes:
        ids: ``(n_rows,)`` of predictions.
        rows: ``(n_rows, n_features)``, once they are scored; before, of a signal, windows of raw readings.
        outcomes: ``(n_rows,)``, once they are scored.
    """

    __slots__ = ("ids", "outcomes", "rows", "signal")

    def __init__(self, rows: Sequence[RawRow], signal: Signal | None, ids: Sequence[str]) -> None:
        self.rows = rows
        self.ids = ids
        self.outcomes: Sequence[Prediction | RowError] = ()
        self.signal = signal

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return len(self.rows)

    def score(self, scorer: Scorer) -> Sequence[Prediction | RowError]:
        """Score them, and return the outcomes."""
        if self.signal is not None:
            self.rows = list(_features_of(self.rows, self.signal))
        self.outcomes = _score(scorer, self.rows)
        return self.outcomes


class Request(Rows):
    """The rows of a request, and how it wants them answered."""

    __slots__ = ("_inference", "_reasons")

    def __init__(
        self,
        inference: Inference,
        rows: Sequence[RawRow],
        signal: Signal | None,
        ids: Sequence[str],
        reasons: Sequence[str] = (),
    ) -> None:
        """Take rows; ``reasons`` say of each why values of it are missing, if anything is known of that."""
        super().__init__(rows, signal, ids)
        self._inference = inference
        self._reasons = reasons

    def answer(self, scorer: Scorer) -> tuple[Response, int]:
        """Score its rows, and return the answer with the number of rows that were refused.

        Raises:
            HttpError: every row was refused, or the model failed on them.
        """
        manifest = scorer.manifest
        version = manifest.version
        scored = [_told(id_, version, each) for id_, each in zip(self.ids, self.score(scorer), strict=True)]
        if self._reasons:
            scored = list(map(_reasoned, scored, self.outcomes, self._reasons))
        n_refused = sum(bool(row.refused) for row in scored)
        if n_refused == len(scored):
            raise HttpError(HTTPStatus.BAD_REQUEST, scored[0].refused)
        return inference_response(self._inference, scored, manifest), n_refused


def read_request(
    body: bytes, json_length: str | None, manifest: Manifest, max_rows: int, ids: PredictionIds
) -> Request:
    """Take a request apart.

    Args:
        body: as it came.
        json_length: what the header of binary tensors says; None where all is JSON.
        manifest: of the model that shall answer.
        max_rows: most rows of one request.
        ids: of predictions.

    Raises:
        HttpError: it is no request for this model.
    """
    inputs = manifest.inputs
    columns = inputs.features if inputs.signal is None else columns_of(inputs.signal)
    inference, rows = parse_rows(body, json_length, columns, max_rows, inputs.signal)
    return Request(inference, rows, inputs.signal, ids.take(len(rows)))


def refusal_of(error: RowError, reason: str = "") -> str:
    """Return how a client is told that a row is refused; ``reason`` says why values of it are missing."""
    return f"{error.kind}: {error}: {reason}" if reason and error.kind == MISSING else f"{error.kind}: {error}"


def _reasoned(scored: Scored, outcome: Prediction | RowError, reason: str) -> Scored:
    return replace(scored, refused=refusal_of(outcome, reason)) if isinstance(outcome, RowError) else scored


def _score(scorer: Scorer, rows: Sequence[RawRow]) -> list[Prediction | RowError]:
    if len(rows) > 1:
        try:
            return scorer.score_batch(rows)
        except RowError:
            # Which row it was is found out one by one.
            pass
    return [_score_one(scorer, row) for row in rows]


def _score_one(scorer: Scorer, row: RawRow) -> Prediction | RowError:
    try:
        return scorer.score(row)
    except RowError as error:
        return error


def _told(prediction_id: str, version: int, scored: Prediction | RowError) -> Scored:
    if isinstance(scored, RowError):
        return Scored(refused=refusal_of(scored))
    # A copy of the outputs: the runtime may fill the same numbers again.
    return Scored(prediction_id, version, scored.label or "", scored.value, scored.confidence, tuple(scored.outputs))


def _features_of(windows: Sequence[RawRow], signal: Signal) -> Iterator[RawRow]:
    extractor, shape = Extractor(signal), (signal.size, len(signal.channels))
    for window in windows:
        # None becomes NaN: a missing reading.
        yield extractor.features_of(np.array(window, dtype=np.float64).reshape(shape)).tolist()
