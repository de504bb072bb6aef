"""Answers one request of the Open Inference Protocol with one scorer: from bytes to bytes, without any I/O."""

import itertools
from collections.abc import Iterator, Sequence
from http import HTTPStatus

import numpy as np

from edge_agent.bundle import Manifest
from edge_agent.errors import RowError
from edge_agent.raw_signal import Signal, columns_of
from edge_agent.scoring.schema import RawRow
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


class Request:
    """A request whose rows are there and not scored yet."""

    __slots__ = ("_ids", "_inference", "_rows", "_signal")

    def __init__(self, inference: Inference, rows: Sequence[RawRow], signal: Signal | None, ids: list[str]) -> None:
        self._inference = inference
        self._rows = rows
        self._signal = signal
        self._ids = ids

    @property
    def n_rows(self) -> int:
        """How many rows it has."""
        return len(self._rows)

    def answer(self, scorer: Scorer) -> tuple[Response, int]:
        """Score its rows, and return the answer with the number of rows that were refused.

        Raises:
            HttpError: every row was refused, or the model failed on them.
        """
        manifest = scorer.manifest
        rows = self._rows if self._signal is None else list(_features_of(self._rows, self._signal))
        version = manifest.version
        scored = [_told(id_, version, each) for id_, each in zip(self._ids, _score(scorer, rows), strict=True)]
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
        return Scored(refused=f"{scored.kind}: {scored}")
    # A copy of the outputs: the runtime may fill the same numbers again.
    return Scored(prediction_id, version, scored.label or "", scored.value, scored.confidence, tuple(scored.outputs))


def _features_of(windows: Sequence[RawRow], signal: Signal) -> Iterator[RawRow]:
    extractor, shape = Extractor(signal), (signal.size, len(signal.channels))
    for window in windows:
        # None becomes NaN: a missing reading.
        yield extractor.features_of(np.array(window, dtype=np.float64).reshape(shape)).tolist()
