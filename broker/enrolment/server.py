"""The HTTPS endpoint at which devices enrol and renew: everything about it is bounded.

- ``GET /time``: the time, for devices whose clock cannot be right.
- ``POST /enrol`` ``{"token", "device", "csr"}``: the first certificate.
- ``POST /renew`` ``{"csr"}``, with the present certificate shown in the TLS handshake: the next one.

A connection has a thread of its own from a bounded number of them, and a time in which all of it must be over; a
further connection is closed unread. The certificates of clients are verified against the root without a look at their
dates, because one that has just ended still shows who asks; whether that is good enough is decided afterwards.
"""

import http.server
import json
import logging
import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec

from broker.enrolment.decisions import Enrolment, EnrolmentRules, Granted, RefusedError
from broker.enrolment.limits import Limits
from broker.identity.folder import FleetFolder
from broker.identity.names import IdentityError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 16 << 10
MAX_CONNECTIONS: Final = 32
MAX_CONNECTIONS_PER_ADDRESS: Final = 16
CONNECTION_S: Final = 20.0
StructT = TypeVar("StructT", bound=msgspec.Struct)

_LOOK_S: Final = 0.5
# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name.
_NO_CHECK_TIME: Final = 0x200000


class EnrolBody(msgspec.Struct, frozen=True):
    """What a device sends to enrol."""

    token: str
    device: str
    csr: str


class RenewBody(msgspec.Struct, frozen=True):
    """What a device sends to renew."""

    csr: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the endpoint allows."""

    connections: int = MAX_CONNECTIONS
    per_address: int = MAX_CONNECTIONS_PER_ADDRESS
    connection_s: float = CONNECTION_S


class EnrolmentServer(http.server.ThreadingHTTPServer):
    """Serves one fleet's folder. `serve_forever` runs it, `shutdown` from another thread ends it."""

    daemon_threads = True
    # A connection cannot outlive its bound by much; nobody waits for it.
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        folder: FleetFolder,
        address: tuple[str, int],
        *,
        utc_s: Callable[[], float],
        monotonic_s: Callable[[], float],
        rules: EnrolmentRules | None = None,
        limits: Limits | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Listen; nothing is answered before `serve_forever`.

        Args:
            folder: whose server certificate is shown, whose tokens are taken.
            address: where to listen; port 0 picks a free one.
            utc_s: the clock that is told and signed by.
            monotonic_s: for budgets and bounds.
            rules: how long certificates are good.
            limits: of addresses.
            bounds: of connections.

        Raises:
            IdentityError: the folder lacks what is needed.
            OSError: it cannot listen there.
        """
        self._folder = folder
        self._issuer = folder.open_issuer()
        self._rules = rules or EnrolmentRules()
        self._limits = limits or Limits()
        self._bounds = bounds or Bounds()
        self._tls = _open_tls(folder)
        self.utc_s = utc_s
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._open: dict[socket.socket, tuple[str, float]] = {}
        self._per_address: Counter[str] = Counter()
        self.turned_away = 0
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def answer(self, path: str, body: bytes, certificate: bytes | None, address: str) -> dict[str, object]:
        """Answer a request.

        Raises:
            RefusedError: it is refused.
            IdentityError: it cannot be answered now.
        """
        register = self._folder.open_register()
        try:
            enrolment = Enrolment(
                register,
                self._issuer,
                self._folder.fleet,
                self._limits,
                rules=self._rules,
                utc_s=self.utc_s,
                monotonic_s=self._monotonic_s,
            )
            if path == "/enrol":
                wanted = _decoded(body, EnrolBody)
                granted = enrolment.enrol(wanted.token, wanted.csr.encode(), wanted.device, address)
            else:
                granted = enrolment.renew(certificate, _decoded(body, RenewBody).csr.encode(), address)
        finally:
            register.close()
        return self._told(granted)

    def _told(self, granted: Granted) -> dict[str, object]:
        about = self._folder.about
        return {
            "fleet": about.fleet,
            "device": granted.device,
            "chain": granted.chain.decode(),
            "ca": self._folder.ca.read_text(),
            "not_before_utc_s": granted.not_before_utc_s,
            "not_after_utc_s": granted.not_after_utc_s,
            "broker": {"host": about.hosts[0], "port": about.broker_port},
            "utc_s": self.utc_s(),
        }

    # --- connections, from the accepting thread but for _forget ------------------------------------------------------

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401 - as the base class has it
        """Tell whether there is room for a connection; the base class closes it where there is none."""
        address = str(client_address[0])
        with self._lock:
            is_full = len(self._open) >= self._bounds.connections
            if is_full or self._per_address[address] >= self._bounds.per_address:
                self.turned_away += 1
                return False
            self._open[request] = (address, self._monotonic_s() + self._bounds.connection_s)
            self._per_address[address] += 1
        return True

    def service_actions(self) -> None:
        """End connections whose time is over: their threads then end by an error of the socket."""
        now_s = self._monotonic_s()
        with self._lock:
            late = [request for request, (_, ends_s) in self._open.items() if now_s >= ends_s]
        for request in late:
            try:
                # The socket below TLS: shutdown wakes the thread that reads it, close would not.
                socket.socket.shutdown(request, socket.SHUT_RDWR)
            except OSError:
                logger.debug("a connection ended by itself")

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Shake hands and answer, in the connection's own thread."""
        request.settimeout(self._bounds.connection_s)
        duplicate = request.dup()
        try:
            with self._tls.wrap_socket(duplicate, server_side=True) as link:
                _Handler(link, client_address, self)
        except (OSError, ValueError) as error:
            # A stranger's certificate, a port scanner, a link that broke: theirs, not ours.
            logger.info("%s: connection ended: %s", client_address[0], error)
        finally:
            duplicate.close()

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Forget a connection and close it."""
        with self._lock:
            address, _ = self._open.pop(request, ("", 0.0))
            if address:
                self._per_address[address] -= 1
                self._per_address += Counter()
        super().shutdown_request(request)

    def serve_forever(self, poll_interval: float = _LOOK_S) -> None:
        """Serve until `shutdown`."""
        super().serve_forever(poll_interval)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - the base class's
        """Log a surprise in a connection's thread."""
        logger.error("%s: surprise while answering", client_address[0], exc_info=sys.exception())


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EnrolmentServer
    server_version = "fieldloop"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path == "/time":
            self._send(HTTPStatus.OK, {"utc_s": self.server.utc_s()})
        else:
            self._send(HTTPStatus.NOT_FOUND, {"error": "there is /time, /enrol and /renew"})

    def do_POST(self) -> None:
        if self.path not in {"/enrol", "/renew"}:
            self._send(HTTPStatus.NOT_FOUND, {"error": "there is /time, /enrol and /renew"}, ends=True)
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 8 or int(length) > MAX_BODY_BYTES:  # noqa: PLR2004 - digits
            text = f"a body of at most {MAX_BODY_BYTES} bytes with its length"
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": text}, ends=True)
            return
        body = self.rfile.read(int(length))
        link = self.connection
        certificate = link.getpeercert(binary_form=True) if isinstance(link, ssl.SSLSocket) else None
        try:
            told = self.server.answer(self.path, body, certificate, str(self.client_address[0]))
        except RefusedError as error:
            refusal: dict[str, object] = {"error": str(error), "kind": error.kind, "final": error.is_final}
            self._send(HTTPStatus(error.status), refusal, ends=error.status == HTTPStatus.TOO_MANY_REQUESTS)
        except IdentityError as error:
            logger.error("cannot answer: %s", error)  # noqa: TRY400 - said to people, not a surprise
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "try later", "kind": "busy", "final": False})
        else:
            self._send(HTTPStatus.OK, told)

    def _send(self, status: HTTPStatus, told: dict[str, object], *, ends: bool = False) -> None:
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if ends:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, code: object = "-", size: object = "-") -> None:  # noqa: ARG002 - the base class's
        """Log what was answered, not what was asked: somebody may have written a token into a path."""
        status = code.value if isinstance(code, HTTPStatus) else code
        logger.debug("%s: answered %s", self.client_address[0], status)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, ARG002 - the base class's
        """Log that a request was none."""
        logger.debug("%s: not a request that can be read", self.client_address[0])


def _decoded(body: bytes, into: type[StructT]) -> StructT:
    try:
        return msgspec.json.decode(body, type=into)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError("bad_request", 400, "the body is not the JSON that is asked for") from error


def _open_tls(folder: FleetFolder) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(folder.server_chain, folder.server_key)
        context.load_verify_locations(cafile=str(folder.ca))
    except (OSError, ssl.SSLError) as error:
        raise IdentityError(f"{folder.server_chain}, {folder.server_key}: {error}") from error
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    return context
