"""Serves the bundle that scores over local HTTP: rows come in as requests, and their answers go back.

It is source and sink in one: a request's rows go through an inlet to the scoring loop, like those of every live source,
and are counted in telemetry; the answers that the loop writes go back to who waits for them. So it answers no faster
than the loop scores, and with the very bundle, trial and telemetry that other sources have.
"""

import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

import msgspec

from broker.messages import BundleRef
from edge_agent.bundle import Manifest
from edge_agent.clock import Clock
from edge_agent.errors import RowError
from edge_agent.raw_signal import Signal, columns_of
from edge_agent.release import VERSION
from edge_agent.scoring.scorer import Prediction
from edge_agent.sensing.http_message import Head, HttpError, Response
from edge_agent.sensing.http_server import HttpBounds, HttpServer
from edge_agent.sensing.inference_protocol import (
    LENGTH_HEADER,
    WHOLE_WINDOW,
    Scored,
    inference_response,
    model_metadata,
    parse_inference,
)
from edge_agent.sensing.inlet import Inlet, InletSource

SERVER_NAME: Final = "fieldloop-agent"

_VERSION_PARTS: Final = 2


class _Waiting:
    """The rows of one request; filled by the scoring thread, read by the request's once `is_done` is set."""

    __slots__ = ("first", "is_done", "left", "scored")

    def __init__(self, n_rows: int) -> None:
        self.first = 0
        self.left = n_rows
        self.scored: list[Scored] = [Scored()] * n_rows
        self.is_done = threading.Event()


class InferenceServer:
    """One endpoint; implements `edge_agent.sensing.sink.Sink` for the answers to its own rows."""

    lost = 0
    # Who asks waits for the answer.
    has_room = True

    def __init__(
        self,
        host: str,
        port: int,
        inlet: Inlet,
        scoring: Callable[[], Manifest | None],
        clock: Clock,
        *,
        bounds: HttpBounds,
        answer_timeout_s: float,
    ) -> None:
        """Listen, and say that nothing is ready until a bundle opens a source here.

        Args:
            host: address to listen on.
            port: 0 picks a free one.
            inlet: takes the rows.
            scoring: tells which bundle scores now; None: none.
            clock: monotonic for the time of a request.
            bounds: of connections, bytes and time.
            answer_timeout_s: longest wait of a request for its answers.

        Raises:
            SourceError: nobody can listen there.
        """
        self._inlet = inlet
        self._scoring = scoring
        self._answer_timeout_s = answer_timeout_s
        self._features: tuple[str, ...] = ()
        self._signal: Signal | None = None
        # By number of the row. Entered before the scoring thread can see a row, taken out by its answer.
        self._pending: dict[int, _Waiting] = {}
        self._server = HttpServer(host, port, self._handle, bounds, clock)

    def start(self) -> None:
        """Serve."""
        self._server.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    @property
    def refused_connections(self) -> int:
        """Connections that were one too many."""
        return self._server.refused_connections

    @property
    def refused_requests(self) -> int:
        """Requests that were answered with an error of who asked: malformed, too large, too slow, of a web page."""
        return self._server.refused_requests

    def open(self, features: Sequence[str], cursor: int) -> InletSource:
        """Open the source of these features: requests are read for them from now on."""
        self._signal = None
        self._features = tuple(features)
        return self._inlet.open(features, cursor)

    def open_windows(self, signal: Signal, cursor: int) -> InletSource:
        """Open the source of whole windows of raw readings: requests are read for them from now on."""
        self._signal = signal
        self._features = columns_of(signal)
        return self._inlet.open(WHOLE_WINDOW, cursor)

    # --- answers, from the scoring thread ----------------------------------------------------------------------------

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        """Give one answer back; see `Sink.write`. Rows that nobody waits for any more are let be."""
        del at_utc_s
        waiting = self._pending.pop(row, None)
        if waiting is not None:
            scored = Scored(
                prediction_id,
                bundle.version,
                "" if prediction.abstained else prediction.label or "",
                prediction.value,
                prediction.confidence,
                # A copy: the runtime may fill the same numbers again.
                tuple(prediction.outputs),
            )
            _put(waiting, row, scored)

    def refuse(self, row: int, error: RowError) -> None:
        """Give a refusal back; see `Sink.refuse`."""
        waiting = self._pending.pop(row, None)
        if waiting is not None:
            _put(waiting, row, Scored(refused=f"{error.kind}: {error}"))

    def flush(self) -> None:
        """Have nothing to make durable: the journal has the rows, and who asked has the answers."""

    def close(self) -> None:
        """Answer who still waits that it is over, and listen no more."""
        self._features = ()
        for waiting in list(self._pending.values()):
            waiting.is_done.set()
        self._inlet.close()
        self._server.close()

    # --- requests, each from the thread of its connection ------------------------------------------------------------

    def _handle(self, head: Head, body: bytes) -> Response:
        parts = [unquote(part) for part in head.path.strip("/").split("/")]
        match parts:
            case ["v2", "health", "live"]:
                return _told(head, HTTPStatus.OK, {"live": True})
            case ["v2", "health", "ready"]:
                return self._readiness(head, self._is_ready(), {"ready": self._is_ready()})
            case ["v2"]:
                about = {"name": SERVER_NAME, "version": VERSION, "extensions": ["binary_tensor_data"]}
                return _told(head, HTTPStatus.OK, about)
            case ["v2", "models", name, *rest]:
                return self._model(head, body, name, rest)
        raise HttpError(HTTPStatus.NOT_FOUND, f"nothing is at {head.path[:200]}")

    def _model(self, head: Head, body: bytes, name: str, rest: Sequence[str]) -> Response:
        asked, rest = (rest[1], rest[_VERSION_PARTS:]) if rest[:1] == ["versions"] and rest[1:] else (None, rest)
        if rest == ["ready"]:
            manifest = self._scoring() if self._is_ready() else None
            is_it = manifest is not None and _is_asked(manifest, name, asked)
            return self._readiness(head, is_it, {"name": name, "ready": is_it})
        if rest not in ([], ["infer"]):
            raise HttpError(HTTPStatus.NOT_FOUND, f"nothing is at {head.path[:200]}")
        manifest = self._scoring()
        features = self._features
        if manifest is None or not features:
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "no bundle scores yet")
        if not _is_asked(manifest, name, asked):
            there = f"{manifest.name} version {manifest.version}"
            raise HttpError(HTTPStatus.NOT_FOUND, f"no model {name[:80]!r} of that version here; there is {there}")
        if not rest:
            return _told(head, HTTPStatus.OK, model_metadata(manifest, features))
        if head.method != "POST":
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "rows are posted")
        return self._infer(head, body, features, manifest, asked)

    def _infer(
        self, head: Head, body: bytes, features: tuple[str, ...], manifest: Manifest, asked: str | None
    ) -> Response:
        if head.headers.get("content-encoding", "identity") != "identity":
            raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not read")
        inference = parse_inference(
            body, head.headers.get(LENGTH_HEADER.lower()), features, self._inlet.max_rows, self._signal
        )
        waiting = _Waiting(len(inference.payloads))
        numbers = self._inlet.offer(inference.payloads, tell=lambda given: self._enter(waiting, given))
        if numbers is None:
            self._inlet.turn_away(len(inference.payloads), "requests come faster than they are scored")
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "too many rows wait already; try again later")
        is_in_time = waiting.is_done.wait(self._answer_timeout_s)
        if waiting.left:
            for number in numbers:
                self._pending.pop(number, None)
            what = "the agent is ending" if is_in_time else "no answer in time"
            status = HTTPStatus.SERVICE_UNAVAILABLE if is_in_time else HTTPStatus.GATEWAY_TIMEOUT
            raise HttpError(status, f"{what}; rows {numbers[0]} to {numbers[-1]} are kept and will be scored")
        refused = [row.refused for row in waiting.scored if row.refused]
        if len(refused) == len(waiting.scored):
            raise HttpError(HTTPStatus.BAD_REQUEST, refused[0])
        answered_by = {str(row.version) for row in waiting.scored if not row.refused}
        if asked is not None and answered_by != {asked}:
            raise HttpError(HTTPStatus.CONFLICT, f"version {', '.join(answered_by)} took over and scored these rows")
        scoring = self._scoring()
        # Labels and names of the bundle that answered, which may have taken over since.
        shown = scoring if scoring is not None and str(scoring.version) in answered_by else manifest
        return inference_response(inference, waiting.scored, shown)

    def _enter(self, waiting: _Waiting, numbers: range) -> None:
        waiting.first = numbers[0]
        for number in numbers:
            self._pending[number] = waiting

    def _is_ready(self) -> bool:
        return bool(self._features) and self._scoring() is not None

    def _readiness(self, head: Head, is_ready: bool, told: dict[str, object]) -> Response:  # noqa: FBT001 - the answer
        # The protocol: 200 says yes, any 4xx says no.
        return _told(head, HTTPStatus.OK if is_ready else HTTPStatus.BAD_REQUEST, told)


def _put(waiting: _Waiting, row: int, scored: Scored) -> None:
    waiting.scored[row - waiting.first] = scored
    waiting.left -= 1
    if waiting.left == 0:
        waiting.is_done.set()


def _is_asked(manifest: Manifest, name: str, asked: str | None) -> bool:
    return manifest.name == name and asked in {None, str(manifest.version)}


def _told(head: Head, status: HTTPStatus, content: object) -> Response:
    if head.method != "GET":
        raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "this is asked with GET")
    return Response(status, msgspec.json.encode(content))
