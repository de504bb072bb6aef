"""The application: FastAPI with its page, the Open Inference Protocol, health and metrics; and the hot path."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response as Answer
from starlette.exceptions import HTTPException

from edge_agent.release import VERSION
from edge_agent.sensing.http_message import HttpError, Response
from trainer.serving.asgi import App, Inference
from trainer.serving.metrics import CONTENT_TYPE
from trainer.serving.openapi import Json, openapi_document
from trainer.serving.page import interface_page, page_policy
from trainer.serving.service import Service, error_response


class Running(Protocol):
    """What uses a service from threads of its own."""

    def start(self, service: Service) -> None:
        """Begin; the service's loop runs."""
        ...

    def stop(self) -> None:
        """End, and wait for the end."""
        ...


def make_app(
    service: Service, every_s: float = 0.0, also: Callable[[], None] = lambda: None, beside: Running | None = None
) -> App:
    """Return the application of a service.

    Args:
        service: answers.
        every_s: seconds between two looks at what is to be served; 0: it is not looked at.
        also: is done beside each look.
        beside: runs as long as the service does.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stopping = asyncio.Event()
        service.loop = asyncio.get_running_loop()
        watching = asyncio.create_task(service.holder.watch(every_s, stopping, also)) if every_s else None
        if beside is not None:
            beside.start(service)
        try:
            yield
        finally:
            service.is_ending = True
            if beside is not None:
                # It waits for what this loop still scores.
                await asyncio.to_thread(beside.stop)
            stopping.set()
            if watching is not None:
                await watching
            service.holder.model.retire()

    app = FastAPI(title="fieldloop serve", version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan)
    views = [each.view for each in service.entities.views] if service.entities is not None else []
    document = openapi_document(service.limits, has_keys=service.keys.are_asked_for, views=views)
    app.openapi = lambda: document  # type: ignore[method-assign]  # FastAPI's own way to give a document
    app.add_exception_handler(HTTPException, _told_by_framework)
    app.add_exception_handler(HttpError, _told)
    app.add_exception_handler(Exception, _surprise_of(service))
    _add_routes(app, service, document)
    return Inference(service, app)


def _add_routes(app: FastAPI, service: Service, document: Json) -> None:
    async def live(_: Request) -> Answer:
        return _json({"live": True})

    async def ready(_: Request) -> Answer:
        return _readiness({"ready": service.is_ready}, is_ready=service.is_ready)

    async def server(request: Request) -> Answer:
        _admit(service, request)
        return Answer(service.about(), media_type="application/json")

    async def model(request: Request) -> Answer:
        _admit(service, request)
        found = service.model_for(request.path_params["name"], request.path_params.get("version"))
        return Answer(service.metadata(found), media_type="application/json")

    async def model_ready(request: Request) -> Answer:
        _admit(service, request)
        name = request.path_params["name"]
        try:
            service.model_for(name, request.path_params.get("version"))
            is_ready = service.is_ready
        except HttpError:
            is_ready = False
        return _readiness({"name": name, "ready": is_ready}, is_ready=is_ready)

    async def page(_: Request) -> Answer:
        # Open as its document is; what the model is like is told to those alone who may ask it.
        manifest = None if service.keys.are_asked_for else service.holder.model.manifest
        headers = {"Content-Security-Policy": page_policy(), "X-Content-Type-Options": "nosniff"}
        return Answer(interface_page(document, manifest), headers=headers, media_type="text/html; charset=utf-8")

    async def metrics(request: Request) -> Answer:
        _admit(service, request)
        return Answer(service.metrics.text(service.places.taken), media_type=CONTENT_TYPE)

    app.add_route("/v2/health/live", live)
    app.add_route("/v2/health/ready", ready)
    app.add_route("/v2", server)
    app.add_route("/metrics", metrics)
    app.add_route("/docs", page)
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        app.add_route(path, model)
        app.add_route(f"{path}/ready", model_ready)


def _admit(service: Service, request: Request) -> None:
    service.admit(dict(request.scope["headers"]))


def _json(content: object, status: int = HTTPStatus.OK) -> Answer:
    return Answer(msgspec.json.encode(content), status, media_type="application/json")


def _readiness(told: object, *, is_ready: bool) -> Answer:
    # The protocol: 200 says yes, any 4xx says no.
    return _json(told, HTTPStatus.OK if is_ready else HTTPStatus.BAD_REQUEST)


def _answer_of(response: Response) -> Answer:
    return Answer(response.body, int(response.status), dict(response.headers), response.content_type)


async def _told(_: Request, error: Exception) -> Answer:
    if not isinstance(error, HttpError):
        raise error
    return _answer_of(error_response(error))


async def _told_by_framework(request: Request, error: Exception) -> Answer:
    if not isinstance(error, HTTPException):
        raise error
    told = _answer_of(error_response(HttpError(HTTPStatus(error.status_code), f"{error.detail}: {request.url.path}")))
    told.headers.update(error.headers or {})
    return told


def _surprise_of(service: Service) -> Any:  # noqa: ANN401 - a handler as Starlette types it
    async def surprise(_: Request, error: Exception) -> Answer:
        return _answer_of(error_response(service.failure(error)))

    return surprise
