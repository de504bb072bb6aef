"""One prediction service: who may ask, what a request is answered, and by which thread it is scored."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec

from edge_agent.clock import Clock
from edge_agent.release import VERSION
from edge_agent.sensing.http_message import HttpError, Response
from edge_agent.sensing.inference_protocol import LENGTH_HEADER, model_metadata
from edge_agent.surprises import Surprises
from trainer.serving.holder import Holder
from trainer.serving.inference import PredictionIds, Request, read_request
from trainer.serving.keys import ApiKeys
from trainer.serving.limits import BusyError, Limits, Places
from trainer.serving.metrics import Metrics
from trainer.serving.model import ServedModel

logger = logging.getLogger(__name__)

SERVER_NAME: Final = "fieldloop-serve"
# What takes no longer is scored where it was read: handing it to another thread takes as long.
_INLINE_S: Final = 0.001
_BEARER: Final = b"bearer "

Headers = dict[bytes, bytes]


class UnauthorisedError(HttpError):
    """A request carries no key, or one that is not known."""


@dataclass(slots=True)
class Service:
    """All that answers requests; belongs to the thread of the event loop.

    Attributes:
        holder: of the model that answers.
        keys: of who may ask.
        limits: on what clients can make it hold.
        metrics: counts.
        ids: of predictions.
        clock: monotonic for the time of a request.
        threads: score what takes longer, as many as a model has workers.
        is_ending: whether no request is taken any more.
    """

    holder: Holder
    keys: ApiKeys
    limits: Limits
    metrics: Metrics
    ids: PredictionIds
    clock: Clock
    threads: ThreadPoolExecutor
    is_ending: bool = False
    places: Places = field(init=False)
    _surprises: Surprises = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no request."""
        self.places = Places(self.limits)
        self._surprises = Surprises(logger)

    def admit(self, headers: Headers) -> str:
        """Return the name of the key that a request carries; empty where none is asked for.

        Raises:
            UnauthorisedError: it carries none, or one that is not known.
        """
        if not self.keys.are_asked_for:
            return ""
        given = headers.get(b"x-api-key", b"")
        bearer = headers.get(b"authorization", b"")
        if not given and bearer[: len(_BEARER)].lower() == _BEARER:
            given = bearer[len(_BEARER) :].strip()
        name = self.keys.name_of(given.decode("latin-1")) if given else None
        if name is None:
            raise UnauthorisedError(
                HTTPStatus.UNAUTHORIZED, "send an API key that is known here: Authorization: Bearer KEY"
            )
        return name

    def model_for(self, name: str, version: str | None) -> ServedModel:
        """Return the model that answers, if it is the one that a path names.

        Raises:
            HttpError: it is another one.
        """
        model = self.holder.model
        manifest = model.manifest
        if manifest.name != name or version not in {None, str(manifest.version)}:
            asked = name[:80] if version is None else f"{name[:80]} version {version[:20]}"
            there = f"{manifest.name} version {manifest.version}"
            raise HttpError(HTTPStatus.NOT_FOUND, f"no model {asked!r} here; there is {there}")
        return model

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        return not self.is_ending

    def about(self) -> bytes:
        """Return what the protocol tells of a server."""
        return msgspec.json.encode({"name": SERVER_NAME, "version": VERSION, "extensions": ["binary_tensor_data"]})

    def metadata(self, model: ServedModel) -> bytes:
        """Return what the protocol tells of a model."""
        return msgspec.json.encode(model_metadata(model.manifest, model.manifest.inputs.features))

    async def infer(self, model: ServedModel, body: bytes, headers: Headers) -> Response:
        """Answer an inference request.

        Raises:
            HttpError: it gets no answer.
        """
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not read")
        length = headers.get(LENGTH_HEADER.lower().encode())
        json_length = None if length is None else length.decode("latin-1")
        model.enter()
        try:
            request = read_request(body, json_length, model.manifest, self.limits.max_rows, self.ids)
            try:
                response, n_refused = await self._scored(model, request)
            except HttpError:
                self.metrics.count_rows(model, 0, request.n_rows)
                raise
            self.metrics.count_rows(model, request.n_rows - n_refused, n_refused)
            return response
        finally:
            model.leave()

    def failure(self, error: Exception) -> HttpError:
        """Return what a client is told of an exception that nobody foresaw, and log it."""
        self._surprises.tell("answering a request", error)
        return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed on this request; its log says why")

    async def _scored(self, model: ServedModel, request: Request) -> tuple[Response, int]:
        if request.n_rows * model.row_s <= _INLINE_S:
            return request.answer(model.inline)
        return await asyncio.get_running_loop().run_in_executor(self.threads, _in_thread, model, request)


def error_response(error: HttpError) -> Response:
    """Return how an error is told: as the Open Inference Protocol has it."""
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, BusyError):
        headers = (("Retry-After", str(error.retry_after_s)),)
    elif isinstance(error, UnauthorisedError):
        headers = (("WWW-Authenticate", "Bearer"),)
    return Response(error.status, msgspec.json.encode({"error": str(error)}), headers=headers)


def _in_thread(model: ServedModel, request: Request) -> tuple[Response, int]:
    # As many threads as scorers: there is always one.
    scorer = model.workers.get()
    try:
        return request.answer(scorer)
    finally:
        model.workers.put(scorer)
