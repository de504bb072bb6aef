"""One prediction service: who may ask, what a request is answered, and by which thread it is scored."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec

from edge_agent.clock import Clock
from edge_agent.errors import RowError
from edge_agent.release import VERSION
from edge_agent.scoring.scorer import Scorer
from edge_agent.sensing.http_message import HttpError, Response
from edge_agent.sensing.inference_protocol import LENGTH_HEADER, model_metadata
from edge_agent.surprises import Surprises
from trainer.serving.entities import EntityFeatures, StoreAwayError
from trainer.serving.feedback.scored import Feedback, ScoredRows
from trainer.serving.holder import Holder
from trainer.serving.inference import PredictionIds, Request, Rows, read_request
from trainer.serving.keys import ApiKeys
from trainer.serving.limits import BusyError, Limits, Places
from trainer.serving.metrics import Metrics
from trainer.serving.model import ServedModel
from trainer.serving.named_request import NamedRequest

logger = logging.getLogger(__name__)

SERVER_NAME: Final = "fieldloop-serve"
# What takes no longer is scored where it was read: handing it to another thread takes as long.
_INLINE_S: Final = 0.001
_BEARER: Final = b"bearer "
# Longest wait for a row that somebody orders to be scored.
_ORDER_S: Final = 5.0
NOT_RUNNING: Final = "not_running"
# The extension of the protocol, and what of it stands in a model's metadata.
LOOK_UP: Final = "entity_lookup"

Headers = dict[bytes, bytes]
ResultT = TypeVar("ResultT")


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
        entities: looks up features of rows that name an entity; None: rows bring all of theirs.
        feedback: is told what was scored; None: nobody is.
        loop: that runs it; None: it does not run yet.
        is_ending: whether no request is taken any more.
    """

    holder: Holder
    keys: ApiKeys
    limits: Limits
    metrics: Metrics
    ids: PredictionIds
    clock: Clock
    threads: ThreadPoolExecutor
    entities: EntityFeatures | None = None
    feedback: Feedback | None = None
    loop: asyncio.AbstractEventLoop | None = None
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
        extensions = ["binary_tensor_data", *([LOOK_UP] if self.entities is not None else [])]
        return msgspec.json.encode({"name": SERVER_NAME, "version": VERSION, "extensions": extensions})

    def metadata(self, model: ServedModel) -> bytes:
        """Return what the protocol tells of a model."""
        told = model_metadata(model.manifest, model.manifest.inputs.features)
        if self.entities is not None:
            told = {**told, "parameters": {LOOK_UP: self.entities.about(model.manifest)}}
        return msgspec.json.encode(told)

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
            if self.entities is None:
                request = read_request(body, json_length, model.manifest, self.limits.max_rows, self.ids)
            else:
                named = NamedRequest(body, json_length, model.manifest, self.limits.max_rows)
                request = await self._completed(named, self.entities)
            try:
                response, n_refused = await self.scored(model, request, request.answer)
            except HttpError:
                self.metrics.count_rows(model, 0, request.n_rows)
                raise
            self.metrics.count_rows(model, request.n_rows - n_refused, n_refused)
            return response
        finally:
            model.leave()

    async def _completed(self, named: NamedRequest, entities: EntityFeatures) -> Request:
        if not named.names_any_of(entities):
            return named.as_it_is(self.ids)
        completed = await self.look_up(entities, lambda: named.completed(entities))
        self.metrics.count_entities(completed.counts)
        return named.with_rows(completed, self.ids)

    async def look_up(self, entities: EntityFeatures, act: Callable[[], ResultT]) -> ResultT:
        """Do something with the online store, in a thread of its own.

        Raises:
            StoreAwayError: it takes too long; or what ``act`` raises.
        """
        looking = asyncio.get_running_loop().run_in_executor(entities.threads, act)
        try:
            async with asyncio.timeout(self.limits.look_up_timeout_s):
                return await looking
        except TimeoutError as error:
            msg = f"the online features were not there after {self.limits.look_up_timeout_s:g} s; try again later"
            raise StoreAwayError(HTTPStatus.SERVICE_UNAVAILABLE, msg) from error

    def failure(self, error: Exception) -> HttpError:
        """Return what a client is told of an exception that nobody foresaw, and log it."""
        self._surprises.tell("answering a request", error)
        return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed on this request; its log says why")

    async def scored(self, model: ServedModel, rows: Rows, score: Callable[[Scorer], ResultT]) -> ResultT:
        """Have rows scored by the thread that is best for them, and told of; between the model's `enter` and `leave`.

        Args:
            model: whose scorer is taken.
            rows: that ``score`` scores.
            score: is given the scorer, in that thread.
        """
        began_s = self.clock.monotonic_s()
        try:
            if rows.n_rows * model.row_s <= _INLINE_S:
                return score(model.inline)
            return await asyncio.get_running_loop().run_in_executor(self.threads, _in_thread, model, score)
        finally:
            if self.feedback is not None and rows.outcomes:
                row_us = (self.clock.monotonic_s() - began_s) / rows.n_rows * 1e6
                variant = model.variant.name
                self.feedback.count(ScoredRows(model.manifest, variant, rows.rows, rows.ids, rows.outcomes, row_us))

    def score_indexed(self, row: Sequence[float | None]) -> Sequence[float]:
        """Score a row whose categories are indices already, for whoever orders it; any other thread.

        Raises:
            RowError: it is refused.
            TimeoutError: the service does not come to it.
        """
        if self.loop is None:
            raise RowError(NOT_RUNNING, "the service does not run")
        return asyncio.run_coroutine_threadsafe(self._score_indexed(row), self.loop).result(_ORDER_S)

    async def _score_indexed(self, row: Sequence[float | None]) -> Sequence[float]:
        # Nothing is awaited in between: the model stays the one that answers.
        return tuple(self.holder.model.inline.score_indexed(row).outputs)


def error_response(error: HttpError) -> Response:
    """Return how an error is told: as the Open Inference Protocol has it."""
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, BusyError):
        headers = (("Retry-After", str(error.retry_after_s)),)
    elif isinstance(error, UnauthorisedError):
        headers = (("WWW-Authenticate", "Bearer"),)
    return Response(error.status, msgspec.json.encode({"error": str(error)}), headers=headers)


def _in_thread(model: ServedModel, score: Callable[[Scorer], ResultT]) -> ResultT:
    # As many threads as scorers: there is always one.
    scorer = model.workers.get()
    try:
        return score(scorer)
    finally:
        model.workers.put(scorer)
