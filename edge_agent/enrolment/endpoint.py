"""Talks to the enrolment endpoint: one connection, on which the time is asked first.

The order is a safety property, because the device's clock may be years off:

1. shake hands with the server: its chain is verified against the pinned root, its name against the address; its dates
   against nothing, for want of a time;
2. ask the time, which tells a stranger nothing;
3. look whether that time can be: not before a moment that has certainly passed, and within the dates of the server's
   own certificate;
4. only then send a token or a request, on the same connection.

What is left: who holds an old key of the server *and* its certificate may lie about the time within that certificate's
dates, but not before the moment in which the token was made or the present certificate given.
"""

import http.client
import json
import ssl
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from broker.errors import LinkError
from edge_agent.errors import AgentError
from edge_agent.pinned_tls import NotInTimeError, open_pinned_tls, verify_in_time

MAX_ANSWER_BYTES: Final = 64 << 10
# Nobody's clock is exact, not the server's when the token was made either.
_SLACK_S: Final = 300.0
_PORT: Final = 8884


class UnreachableError(AgentError):
    """The endpoint gives nothing that can be used now: try again later."""


class RefusedError(AgentError):
    """The endpoint refuses; the message says why."""


class EnrolmentEndpoint:
    """One connection to the endpoint; close it."""

    def __init__(self, url: str, ca: str, identity: str | None, timeout_s: float) -> None:
        """Shake hands.

        Args:
            url: ``https://host:port``.
            ca: file with the fleet's root certificate.
            identity: file with this device's key and certificates; None: it has none yet.
            timeout_s: longest silence.

        Raises:
            UnreachableError: nobody there, or not one of this fleet.
        """
        address = urlsplit(url)
        self._where = f"{address.hostname}:{address.port or _PORT}"
        try:
            context = open_pinned_tls(ca, identity, None, None)
            self._link = http.client.HTTPSConnection(
                address.hostname or "", address.port or _PORT, timeout=timeout_s, context=context
            )
            self._link.connect()
        except (OSError, LinkError, http.client.HTTPException) as error:
            raise UnreachableError(f"{self._where}: {error}") from error
        # Whatever happens to this connection, no other one is opened in its place: that would be to an unknown server.
        self._link.auto_open = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()

    def ask_time(self, floor_s: float) -> float:
        """Return the server's time, UTC seconds.

        Args:
            floor_s: a moment that has certainly passed.

        Raises:
            UnreachableError: it tells none that can be.
        """
        told = self._ask("GET", "/time", None).get("utc_s")
        if not isinstance(told, int | float):
            raise UnreachableError(f"{self._where}: it tells no time")
        if told < floor_s - _SLACK_S:
            raise UnreachableError(f"{self._where}: it tells a time that is past since long")
        link: object = self._link.sock
        if not isinstance(link, ssl.SSLSocket):
            raise UnreachableError(f"{self._where}: the connection ended")
        try:
            verify_in_time(link, told)
        except NotInTimeError as error:
            raise UnreachableError(f"{self._where}: {error}") from error
        return float(told)

    def post(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        """Send a request and return the answer, after `ask_time`.

        Raises:
            RefusedError: it says no.
            UnreachableError: no answer came, or none that can be used.
        """
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        try:
            self._link.request(method, path, body, {"Content-Type": "application/json"})
            answer = self._link.getresponse()
            data = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{self._where}: {error!r}") from error
        if len(data) > MAX_ANSWER_BYTES:
            raise UnreachableError(f"{self._where}: an answer of more than {MAX_ANSWER_BYTES} bytes")
        try:
            told = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise UnreachableError(f"{self._where}: an answer that is not JSON, status {answer.status}") from error
        if not isinstance(told, dict):
            raise UnreachableError(f"{self._where}: an answer that is no object, status {answer.status}")
        if answer.status == http.client.OK:
            return told
        text = f"{self._where}: {str(told.get('error', f'status {answer.status}'))[:300]}"
        if told.get("final") is True:
            raise RefusedError(text)
        raise UnreachableError(text)
