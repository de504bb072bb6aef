"""The endpoint over real TLS: what it answers, what it refuses, and that nobody can hold it up."""

import http.client
import json
import logging
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.enrolment.limits import Budget, Limits
from broker.enrolment.server import MAX_BODY_BYTES, Bounds, EnrolmentServer
from broker.identity.folder import FleetFolder
from broker.identity.keys import private_pem
from tests.fleet_server import FLEET, HOST, make_fleet, registrar_of, running_endpoint
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(60)
KEY = ec.generate_private_key(ec.SECP256R1())
CSR = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(KEY, hashes.SHA256())
    .public_bytes(serialization.Encoding.PEM)
    .decode()
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> FleetFolder:
    return make_fleet(tmp_path_factory.mktemp("fleet") / "fleet")


@pytest.fixture
def server(fleet: FleetFolder) -> Iterator[EnrolmentServer]:
    with running_endpoint(fleet) as running:
        yield running


def a_context(fleet: FleetFolder, identity: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(fleet.ca))
    if identity is not None:
        context.load_cert_chain(*identity)
    return context


def ask(
    server: EnrolmentServer, context: ssl.SSLContext, method: str, path: str, body: bytes | None = None
) -> tuple[int, dict[str, object]]:
    with closing(http.client.HTTPSConnection(HOST, server.port, context=context, timeout=10)) as link:
        link.request(method, path, body)
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())


def a_body(token: str, device: str) -> bytes:
    return json.dumps({"token": token, "device": device, "csr": CSR}).encode()


def a_token(fleet: FleetFolder) -> str:
    with registrar_of(fleet) as registrar:
        return registrar.make_token(3600).text


def test_a_device_enrols_and_renews_with_what_it_got(server: EnrolmentServer, fleet: FleetFolder, tmp_path: Path):
    status, told = ask(server, a_context(fleet), "POST", "/enrol", a_body(a_token(fleet), "press-1"))
    assert (status, told["device"], told["fleet"]) == (200, "press-1", FLEET)
    assert told["broker"] == {"host": HOST, "port": 8883}
    assert told["ca"] == fleet.ca.read_text()
    chain = tmp_path / "chain.pem"
    chain.write_text(str(told["chain"]))
    (tmp_path / "key.pem").write_bytes(private_pem(KEY))
    context = a_context(fleet, (chain, tmp_path / "key.pem"))
    status, again = ask(server, context, "POST", "/renew", json.dumps({"csr": CSR}).encode())
    assert status == 200
    assert again["chain"] != told["chain"]


def test_it_tells_the_time_to_anybody(server: EnrolmentServer, fleet: FleetFolder):
    status, told = ask(server, a_context(fleet), "GET", "/time")
    assert status == 200
    assert told["utc_s"] == pytest.approx(server.utc_s(), abs=60)


def test_renewal_without_a_certificate_is_refused(server: EnrolmentServer, fleet: FleetFolder):
    status, told = ask(server, a_context(fleet), "POST", "/renew", json.dumps({"csr": CSR}).encode())
    assert (status, told["kind"]) == (401, "no_certificate")


def test_a_certificate_of_another_authority_gets_no_handshake(
    server: EnrolmentServer, fleet: FleetFolder, tmp_path: Path
):
    other = make_fleet(tmp_path / "other")
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        ask(server, a_context(fleet, (other.server_chain, other.server_key)), "GET", "/time")


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b"{}", b'{"token": 1}', b"[" * 10_000, b"\xff\xfe", b'{"csr": null}']
)
@pytest.mark.parametrize("path", ["/enrol", "/renew"])
def test_a_body_that_is_none_is_refused(server: EnrolmentServer, fleet: FleetFolder, path: str, body: bytes):
    server._limits = Limits(failures=Budget(1000, 1000))
    status, told = ask(server, a_context(fleet), "POST", path, body)
    assert (status, told["kind"]) == (400, "bad_request")


@pytest.mark.parametrize("length", ["", "-1", "nonsense", str(MAX_BODY_BYTES + 1), "9" * 30])
def test_a_length_that_is_too_great_or_none_is_refused_before_anything_is_read(
    server: EnrolmentServer, fleet: FleetFolder, length: str
):
    with closing(http.client.HTTPSConnection(HOST, server.port, context=a_context(fleet), timeout=10)) as link:
        link.putrequest("POST", "/enrol", skip_accept_encoding=True)
        if length:
            link.putheader("Content-Length", length)
        link.endheaders()
        assert link.getresponse().status == 413


def test_who_guesses_at_speed_is_told_to_come_later(fleet: FleetFolder):
    with running_endpoint(fleet, limits=Limits(failures=Budget(5, 1))) as server:
        guess = f"{FLEET}.6b07a81e.{'A' * 43}"
        statuses = [ask(server, a_context(fleet), "POST", "/enrol", a_body(guess, "x"))[0] for _ in range(8)]
        assert statuses == [403] * 5 + [429] * 3
        # Its own token does not help it now; that of others is not hurt.
        assert ask(server, a_context(fleet), "POST", "/enrol", a_body(a_token(fleet), "press-9"))[0] == 429


def test_of_many_that_show_one_token_at_once_one_gets_a_certificate(server: EnrolmentServer, fleet: FleetFolder):
    server._limits = Limits(failures=Budget(1000, 1000))
    token = a_token(fleet)
    bodies = []
    for n in range(8):
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        csr = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        pem = csr.public_bytes(serialization.Encoding.PEM).decode()
        bodies.append(json.dumps({"token": token, "device": f"racer-{n}", "csr": pem}).encode())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: ask(server, a_context(fleet), "POST", "/enrol", body)[0], bodies))
    assert sorted(answers) == [200] + [403] * 7


def test_who_opens_connections_and_says_nothing_holds_up_nobody_for_long(fleet: FleetFolder):
    with running_endpoint(fleet, bounds=Bounds(connections=4, per_address=4, connection_s=1.0)) as server:
        idle = [socket.create_connection((HOST, server.port)) for _ in range(4)]
        slow = socket.create_connection((HOST, server.port))
        wait_until(lambda: server.turned_away >= 1)

        def is_answered() -> bool:
            try:
                return ask(server, a_context(fleet), "GET", "/time")[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        wait_until(is_answered, 20, "the idle ones are gone")
        for link in (*idle, slow):
            link.settimeout(5)
            assert link.recv(1) == b""
            link.close()


def test_a_client_that_trickles_bytes_is_ended_at_the_bound(fleet: FleetFolder):
    with running_endpoint(fleet, bounds=Bounds(connection_s=1.0)) as server:
        raw = socket.create_connection((HOST, server.port))
        with a_context(fleet).wrap_socket(raw, server_hostname=HOST) as link:
            link.settimeout(0.05)
            link.sendall(b"POST /enrol HTTP/1.1\r\nContent-Length: 9\r\n\r\n")

            def is_ended() -> bool:
                try:
                    link.sendall(b"{")
                    return link.recv(1) == b""
                except TimeoutError:
                    return False
                except OSError:
                    return True

            wait_until(is_ended, 20)
        wait_until(lambda: not server._open)


def test_no_secret_stands_in_the_log(server: EnrolmentServer, fleet: FleetFolder, caplog: pytest.LogCaptureFixture):
    token = a_token(fleet)
    with caplog.at_level(logging.DEBUG):
        for device in ("press-20", "press-21"):
            ask(server, a_context(fleet), "POST", "/enrol", a_body(token, device))
        ask(server, a_context(fleet), "POST", "/enrol", a_body(token + "x", "press-22"))
        ask(server, a_context(fleet), "GET", f"/enrol/{token}")
    assert "press-20" in caplog.text
    assert token.rsplit(".", 1)[1] not in caplog.text
