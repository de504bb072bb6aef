"""Requests and answers of HTTP/1.1, as far as a device's inference endpoint needs them: parsed, checked, encoded.

It does no I/O. What it does not know it refuses: chunked bodies, folded headers, two lengths.
"""

import re
from http import HTTPStatus
from typing import Final

from msgspec import Struct

MAX_HEAD_BYTES: Final = 16 << 10
MAX_HEADERS: Final = 64

_REQUEST_LINE: Final = re.compile(rb"^([A-Z]{1,16}) (/[!-~]{0,4095}) HTTP/1\.([01])$")
_HEADER: Final = re.compile(rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):[ \t]*([\t -~\x80-\xff]*?)[ \t]*$")
_LENGTH: Final = re.compile(rb"^\d{1,12}$")


class HttpError(Exception):
    """A request is refused.

    Attributes:
        status: its code.
        ends_connection: whether what follows on the connection cannot be told apart any more.
    """

    def __init__(self, status: HTTPStatus, message: str, *, ends_connection: bool = False) -> None:
        """Keep the code beside the message."""
        super().__init__(message)
        self.status = status
        self.ends_connection = ends_connection


class Head(Struct, frozen=True):
    """The head of a request.

    Attributes:
        path: without the query.
        headers: by name in lower case.
        length: bytes of the body.
        is_kept_alive: whether another request may follow on the connection.
    """

    method: str
    path: str
    headers: dict[str, str]
    length: int
    is_kept_alive: bool


class Response(Struct, frozen=True):
    """An answer; ``headers`` beside length, type and connection."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def parse_head(data: bytes) -> Head:
    """Take apart a request's head, without the empty line that ends it.

    Raises:
        HttpError: it is not what HTTP/1.1 says, or says what is not served here.
    """
    first, *lines = data.split(b"\r\n")
    request = _REQUEST_LINE.match(first)
    if request is None:
        raise _broken(f"the request line is {first[:80]!r}")
    if len(lines) > MAX_HEADERS:
        raise HttpError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MAX_HEADERS} headers", ends_connection=True
        )
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER.match(line)
        if header is None:
            raise _broken(f"the header {line[:80]!r} is none")
        name, value = header[1].decode().lower(), header[2].decode("latin-1")
        if headers.setdefault(name, value) != value and name in {"content-length", "host", "transfer-encoding"}:
            raise _broken(f"the header {name} is there twice")
    wanted = headers.get("connection", "").lower()
    is_kept_alive = wanted == "keep-alive" if request[3] == b"0" else wanted != "close"
    path = request[2].decode().partition("?")[0]
    return Head(request[1].decode(), path, headers, _length_of(headers), is_kept_alive)


def encode_response(response: Response, *, is_kept_alive: bool) -> bytes:
    """Return an answer as it goes over the connection."""
    lines = [
        f"HTTP/1.1 {response.status.value} {response.status.phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        f"Connection: {'keep-alive' if is_kept_alive else 'close'}",
        *(f"{name}: {value}" for name, value in response.headers),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + response.body


def _length_of(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise HttpError(
            HTTPStatus.LENGTH_REQUIRED, "a body in chunks is not read: send Content-Length", ends_connection=True
        )
    text = headers.get("content-length", "0").encode("latin-1")
    if _LENGTH.match(text) is None:
        raise _broken(f"Content-Length is {text[:40]!r}")
    return int(text)


def _broken(what: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, f"this is no HTTP/1.1 request: {what}", ends_connection=True)
