"""The hot path: an inference request of ASGI, from its bytes to its answer, with nothing of a framework in between.

https://asgi.readthedocs.io/en/latest/specs/www.html. `app` puts it beside the pages that FastAPI serves.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from edge_agent.sensing.http_message import HttpError, Response
from trainer.serving.service import Headers, Service, error_response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_INFER: Final = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_NOT_POSTED: Final = Response(
    HTTPStatus.METHOD_NOT_ALLOWED, b'{"error":"rows are posted"}', headers=(("Allow", "POST"),)
)
_TOO_LONG: Final = "a body of more than {} bytes is not read: send fewer rows at once"


class Inference:
    """Answers posts to ``…/infer``, and hands everything else on."""

    def __init__(self, service: Service, others: App) -> None:
        self._service = service
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request; see the specification of ASGI."""
        path = _INFER.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if path is None:
            await self._others(scope, receive, send)
            return
        if scope["method"] != "POST":
            await _send(send, _NOT_POSTED)
            return
        response = await self._answered(path["name"], path["version"], dict(scope["headers"]), receive)
        if response is not None:
            await _send(send, response)

    async def _answered(self, name: str, version: str | None, headers: Headers, receive: Receive) -> Response | None:
        """Return the answer; None where the client has gone."""
        service = self._service
        began_s = service.clock.monotonic_s()
        # Counted under the model that is asked, whatever becomes of the request.
        model, key = service.holder.model, ""
        try:
            key = service.admit(headers)
            service.places.take(key)
            try:
                body = await _body_of(headers, receive, service)
                if body is None:
                    return None
                # Asked for as late as can be: nothing is awaited between this and the model's count.
                model = service.model_for(name, version)
                response = await service.infer(model, body, headers)
            finally:
                service.places.give_back(key)
        except HttpError as error:
            response = error_response(error)
        except Exception as error:  # noqa: BLE001 - a client is told that it failed, never how
            response = error_response(service.failure(error))
        service.metrics.count_request(model, key, response.status, service.clock.monotonic_s() - began_s)
        return response


async def _body_of(headers: Headers, receive: Receive, service: Service) -> bytes | None:
    """Return the whole body; None where the client has gone.

    Raises:
        HttpError: it is too long, or too slow.
    """
    limits = service.limits
    length = headers.get(b"content-length", b"0")
    if _LENGTH.fullmatch(length) is None or int(length) > limits.max_body_bytes:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LONG.format(limits.max_body_bytes))
    message = await receive()
    if message["type"] != "http.request":
        return None
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        try:
            async with asyncio.timeout(limits.body_timeout_s):
                return await _rest_of(body, receive, limits.max_body_bytes)
        except TimeoutError as error:
            msg = f"the body was not whole after {limits.body_timeout_s:g} s"
            raise HttpError(HTTPStatus.REQUEST_TIMEOUT, msg) from error
    if len(body) > limits.max_body_bytes:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LONG.format(limits.max_body_bytes))
    return body


async def _rest_of(begin: bytes, receive: Receive, max_bytes: int) -> bytes | None:
    parts, n_bytes, is_more = [begin], len(begin), True
    while is_more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        n_bytes += len(parts[-1])
        if n_bytes > max_bytes:
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LONG.format(max_bytes))
        is_more = message.get("more_body", False)
    return b"".join(parts)


async def _send(send: Send, response: Response) -> None:
    headers = [
        (b"content-type", response.content_type.encode()),
        (b"content-length", str(len(response.body)).encode()),
        *((name.lower().encode(), value.encode("latin-1")) for name, value in response.headers),
    ]
    await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
