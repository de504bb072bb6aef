"""The server of one fleet for tests: its folder, its enrolment endpoint, and a Mosquitto that asks for certificates."""

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.client import Endpoint
from broker.enrolment.decisions import EnrolmentRules
from broker.enrolment.limits import Limits
from broker.enrolment.server import Bounds, EnrolmentServer
from broker.identity.folder import FleetFile, FleetFolder, init_fleet
from broker.identity.registrar import Registrar
from broker.servers.mosquitto import READY_PATTERN, find_mosquitto
from tests.ports import free_port
from tests.waiting import wait_until

PASSPHRASE = b"correct horse battery staple"
FLEET = "test"
HOST = "127.0.0.1"


def real_utc_s() -> float:
    return time.time()  # noqa: TID251 - a server's own clock


def real_monotonic_s() -> float:
    return time.monotonic()  # noqa: TID251 - a server's own clock


def why_not() -> str | None:
    """Return why there can be none here."""
    if find_mosquitto() is None:
        return "no mosquitto here: sudo apt-get install mosquitto"
    return None if shutil.which("openssl") else "no openssl here: sudo apt-get install openssl"


def make_fleet(
    folder: Path, fleet: str = FLEET, *, hosts: tuple[str, ...] = (HOST,), port: int = 8883, at_s: float | None = None
) -> FleetFolder:
    """Make a fleet's folder."""
    return init_fleet(folder, FleetFile(fleet, hosts, port, 8884), PASSPHRASE, at_s or real_utc_s())


@contextlib.contextmanager
def registrar_of(fleet: FleetFolder, utc_s: Callable[[], float] = real_utc_s) -> Iterator[Registrar]:
    """Give what changes the register."""
    register = fleet.open_register()
    try:
        yield Registrar(register, fleet.fleet, "test", utc_s, write_down=lambda *_: None)
    finally:
        register.close()


@contextlib.contextmanager
def running_endpoint(
    fleet: FleetFolder,
    *,
    port: int = 0,
    utc_s: Callable[[], float] = real_utc_s,
    rules: EnrolmentRules | None = None,
    limits: Limits | None = None,
    bounds: Bounds | None = None,
) -> Iterator[EnrolmentServer]:
    """Run an enrolment endpoint until the block ends."""
    server = EnrolmentServer(
        fleet,
        (HOST, port),
        utc_s=utc_s,
        monotonic_s=real_monotonic_s,
        rules=rules,
        limits=limits,
        bounds=bounds,
    )
    serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


@dataclass(frozen=True, slots=True)
class SecureBroker:
    """Where it listens.

    Attributes:
        plain: a second listener without TLS, for whoever stands at the server.
    """

    endpoint: Endpoint
    plain: Endpoint
    log: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def running_broker(fleet: FleetFolder, folder: Path, port: int | None = None, more: str = "") -> Iterator[SecureBroker]:
    """Run a Mosquitto with the fleet's server certificate, which lets only the fleet's certificates in."""
    folder.mkdir(parents=True, exist_ok=True)
    tls_port, plain_port = port or free_port(), free_port()
    config = folder / "mosquitto.conf"
    # per_listener_settings stands first: what follows is read by it.
    config.write_text(
        f"per_listener_settings true\nuser root\nlog_dest stderr\nlog_type all\n"
        f"listener {plain_port} {HOST}\nallow_anonymous true\n"
        f"listener {tls_port} {HOST}\nallow_anonymous false\ncafile {fleet.ca}\ncertfile {fleet.server_chain}\n"
        f"keyfile {fleet.server_key}\nrequire_certificate true\nuse_identity_as_username true\n{more}\n"
    )
    log = folder / "mosquitto.log"
    with log.open("wb") as output:
        process = subprocess.Popen([str(find_mosquitto()), "-c", str(config)], stderr=output)
        try:
            wait_until(lambda: re.search(READY_PATTERN, log.read_bytes()) is not None)
            yield SecureBroker(Endpoint(HOST, tls_port), Endpoint(HOST, plain_port), log, process)
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def running_front(fleet: FleetFolder, behind: Endpoint) -> Iterator[Endpoint]:
    """Run TLS of the fleet's server in front of a plain broker, which looks at no dates: a server of any year."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(fleet.server_chain, fleet.server_key)
    context.load_verify_locations(cafile=str(fleet.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags(0x200000)
    listening = socket.create_server((HOST, 0))
    listening.settimeout(0.1)
    ended = threading.Event()

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                link, _ = listening.accept()
                threading.Thread(target=serve, args=(link,), daemon=True).start()

    def serve(link: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(link, server_side=True) as outer,
            socket.create_connection((behind.host, behind.port)) as inner,
        ):
            outer.settimeout(0.05)
            inner.settimeout(0.05)
            while not ended.is_set():
                for source, target in ((outer, inner), (inner, outer)):
                    with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                        data = source.recv(65536)
                        if not data:
                            return
                        target.sendall(data)

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield Endpoint(HOST, listening.getsockname()[1])
    finally:
        ended.set()
        accepting.join()
        listening.close()
