"""A device takes a step against a real endpoint, and against one that lies."""

import contextlib
import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from broker.identity.folder import FleetFolder
from broker.identity.keys import SigningRequest, make_request
from broker.identity.names import parse_identity
from edge_agent.enrolment.claim_token import read_token
from edge_agent.enrolment.identity_file import IDENTITY_NAME, NEXT_KEY_NAME, read_held, write_identity
from edge_agent.enrolment.messages import EnrolmentOrder, EnrolmentReport
from edge_agent.enrolment.next_step import Step
from edge_agent.enrolment.signing_request import AnswerError, keep_key, verify_answer
from edge_agent.enrolment.signing_request import make_request as make_csr
from edge_agent.enrolment.steps import take_step
from edge_agent.errors import SettingsError
from tests.fleet_server import FLEET, HOST, make_fleet, real_utc_s, registrar_of, running_endpoint

YEAR_S = 365 * 86_400.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> FleetFolder:
    return make_fleet(tmp_path_factory.mktemp("fleet") / "fleet")


@dataclass
class Device:
    """A device's folder."""

    folder: Path
    fleet: FleetFolder
    name: str

    @property
    def token(self) -> Path:
        return self.folder / "token"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def give_token(self, **changes: float) -> None:
        with registrar_of(self.fleet) as registrar:
            self.token.write_text(registrar.make_token(3600, **changes).text + "\n")  # type: ignore[arg-type]

    def take(self, step: Step, port: int, ca: Path | None = None, fleet: str = FLEET) -> EnrolmentReport:
        order = EnrolmentOrder(
            step=step,
            url=f"https://{HOST}:{port}",
            ca=str(ca or self.fleet.ca),
            device=self.name,
            fleet=fleet,
            state=str(self.state),
            token_file=str(self.token),
            timeout_s=5.0,
        )
        return take_step(order)


@pytest.fixture
def device(fleet: FleetFolder, tmp_path: Path, request: pytest.FixtureRequest) -> Device:
    made = Device(tmp_path, fleet, f"d{abs(hash(request.node.name)):x}"[:30])
    made.give_token()
    return made


def test_a_device_enrols_and_renews_and_its_files_fit_together(device: Device):
    with running_endpoint(device.fleet) as server:
        assert device.take("enrol", server.port).outcome == "done"
        first = (device.state / IDENTITY_NAME).read_bytes()
        report = device.take("renew", server.port)
    assert (report.outcome, report.detail) == ("done", "renewed the certificate")
    second = (device.state / IDENTITY_NAME).read_bytes()
    keys = {data.partition(b"BEGIN PRIVATE KEY")[2].partition(b"END")[0] for data in (first, second)}
    assert len(keys) == 2
    # OpenSSL refuses a key that is another one's.
    ssl.create_default_context(cafile=str(device.fleet.ca)).load_cert_chain(device.state / IDENTITY_NAME)
    assert not device.token.exists()
    assert [path.name for path in device.state.iterdir()] == [IDENTITY_NAME]
    assert (device.state / IDENTITY_NAME).stat().st_mode & 0o777 == 0o600
    held = read_held(device.state)
    assert held is not None
    assert (held.device, held.fleet, held.broker_host, held.broker_port) == (device.name, FLEET, HOST, 8883)


def test_a_device_that_is_cut_before_it_has_kept_the_answer_gets_the_same_again(device: Device):
    token = device.token.read_text()
    with running_endpoint(device.fleet) as server:
        device.take("enrol", server.port)
        identity = (device.state / IDENTITY_NAME).read_bytes()
        # As a power cut leaves it after the endpoint has answered and before the answer was written.
        key = b"-----BEGIN" + identity.split(b"-----BEGIN")[1]
        (device.state / NEXT_KEY_NAME).write_bytes(key)
        (device.state / IDENTITY_NAME).unlink()
        device.token.write_text(token)
        assert device.take("enrol", server.port).outcome == "done"
    assert (device.state / IDENTITY_NAME).read_bytes().split(b"\n", 1)[1] == identity.split(b"\n", 1)[1]


def test_a_used_token_is_refused_for_good_and_kept_for_a_look(device: Device):
    token = device.token.read_text()
    with running_endpoint(device.fleet) as server:
        device.take("enrol", server.port)
        other = Device(device.folder / "other", device.fleet, "another")
        other.folder.mkdir()
        other.token.write_text(token)
        report = other.take("enrol", server.port)
    assert (report.outcome, report.utc_s) == ("refused", None)
    assert "used already" in report.detail
    assert other.token.exists()
    assert read_held(other.state) is None


def test_nobody_there_is_a_reason_to_try_again(device: Device):
    report = device.take("enrol", 1)
    assert report.outcome == "unreachable"
    assert not (device.state / NEXT_KEY_NAME).exists()


def test_a_server_of_another_authority_gets_no_token(device: Device, tmp_path: Path):
    other = make_fleet(tmp_path / "other")
    with running_endpoint(other) as server:
        report = device.take("enrol", server.port)
    assert report.outcome == "unreachable"
    assert "certificate verify failed" in report.detail
    with contextlib.closing(other.open_register()) as register:
        assert register.refusals() == ()


def test_a_token_of_another_fleet_is_not_sent_at_all(device: Device):
    report = device.take("enrol", 1, fleet="elsewhere")
    assert (report.outcome, report.detail) == ("refused", f"the claim token is for fleet {FLEET}, not elsewhere")


@pytest.mark.parametrize("step", ["enrol", "renew"])
def test_an_order_for_what_there_is_not_says_so(device: Device, step: Step):
    device.token.unlink()
    with running_endpoint(device.fleet) as server:
        report = device.take(step, server.port)
    assert report.outcome == "unreachable"
    assert str(device.folder) in report.detail


def test_a_server_whose_time_is_before_the_token_was_made_gets_no_token(device: Device):
    with running_endpoint(device.fleet, utc_s=lambda: real_utc_s() - 600) as server:
        report = device.take("enrol", server.port)
    assert report.outcome == "unreachable"
    assert "past since long" in report.detail
    assert device.take("time", server.port).outcome == "unreachable"


def test_a_server_whose_certificate_has_ended_by_its_own_time_gets_no_token(device: Device):
    with running_endpoint(device.fleet, utc_s=lambda: real_utc_s() + 2 * YEAR_S) as server:
        report = device.take("enrol", server.port)
    assert report.outcome == "unreachable"
    assert "ended at" in report.detail


class Liar(http.server.BaseHTTPRequestHandler):
    """Answers what the test wants."""

    protocol_version = "HTTP/1.1"
    answers: Callable[[str], tuple[int, bytes]]
    asked: list[tuple[str, bytes]]

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        type(self).asked.append((self.path, body))
        status, data = type(self).answers(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@dataclass
class Lying:
    """A server with the fleet's certificate that is not itself."""

    port: int
    asked: list[tuple[str, bytes]] = field(default_factory=list)


@contextlib.contextmanager
def lying(fleet: FleetFolder, told: Callable[[str], tuple[int, bytes]]) -> Iterator[Lying]:
    asked: list[tuple[str, bytes]] = []
    handler = type("Handler", (Liar,), {"answers": staticmethod(told), "asked": asked})
    server = http.server.ThreadingHTTPServer((HOST, 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(fleet.server_chain, fleet.server_key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Lying(server.server_address[1], asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"nonsense"),
        (200, b"[]"),
        (200, b"[" * 60_000),
        (200, b'{"utc_s": "now"}'),
        (200, b"{" + b" " * (70 << 10) + b"}"),
        (500, b"{}"),
        (403, b'{"error": ["\\u001b[31m"], "final": 1}'),
    ],
    ids=["nonsense", "list", "deep", "no number", "long", "broken", "odd refusal"],
)
def test_an_endpoint_that_tells_no_time_hears_no_token(device: Device, answer: tuple[int, bytes]):
    with lying(device.fleet, lambda _: answer) as liar:
        report = device.take("enrol", liar.port)
    assert report.outcome == "unreachable"
    assert ("more than 65536 bytes" in report.detail) == (len(answer[1]) > 65_536)
    assert [path for path, _ in liar.asked] == ["/time"]


def test_an_answer_that_is_not_for_this_device_or_not_of_this_fleet_is_not_kept(device: Device, tmp_path: Path):
    other = make_fleet(tmp_path / "other")
    _, request = make_request()
    stranger = other.open_issuer().issue(request, parse_identity(device.name), real_utc_s(), 30).chain.decode()
    good = device.fleet.open_issuer().issue(request, parse_identity(device.name), real_utc_s(), 30).chain.decode()
    base = {
        "fleet": FLEET,
        "device": device.name,
        "not_before_utc_s": 0.0,
        "not_after_utc_s": 1e12,
        "broker": {"host": "h", "port": 1},
    }
    answers: dict[str, dict[str, object]] = {
        "for else": base | {"device": "else", "chain": good},
        "of fleet other": base | {"fleet": "other", "chain": good},
        "not signed by": base | {"chain": stranger},
        "not signed by ": base | {"chain": "no chain"},
        "the answer is not": base,
        # A chain for another key than the device's own.
        "do not belong together": base | {"chain": good},
    }
    for why, answer in answers.items():
        told = {"/time": {"utc_s": real_utc_s()}, "/enrol": answer}
        with lying(device.fleet, lambda path, told=told: (200, json.dumps(told[path]).encode())) as liar:  # type: ignore[misc]
            report = device.take("enrol", liar.port)
        assert report.outcome == "unreachable"
        assert why.strip() in report.detail
        assert read_held(device.state) is None
        assert device.token.exists()


def test_a_certificate_with_another_name_for_this_key_is_not_kept(device: Device):
    key = device.folder / "key.pem"
    keep_key(key)
    request = SigningRequest(make_csr(key, device.name))
    chain = device.fleet.open_issuer().issue(request, parse_identity("else"), real_utc_s(), 30).chain
    with pytest.raises(AnswerError, match="for 'else'"):
        verify_answer(chain, device.fleet.ca, key, device.name, FLEET)
    verify_answer(chain, device.fleet.ca, key, "else", FLEET)
    with pytest.raises(AnswerError, match="of fleet 'test'"):
        verify_answer(chain, device.fleet.ca, key, "else", "other")
    later = device.fleet.open_issuer().issue(request, parse_identity("else.2"), real_utc_s(), 30).chain
    verify_answer(later, device.fleet.ca, key, "else", FLEET)


def test_without_openssl_the_reason_says_what_to_install(device: Device, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(device.folder))
    with running_endpoint(device.fleet) as server:
        report = device.take("enrol", server.port)
    assert report.outcome == "unreachable"
    assert "apt-get install openssl" in report.detail


def test_a_damaged_identity_is_none(device: Device):
    device.state.mkdir()
    for data in (b"", b"fieldloop-identity: {}\n", b"fieldloop-identity: \xff\n", b"-----BEGIN PRIVATE KEY-----"):
        (device.state / IDENTITY_NAME).write_bytes(data)
        assert read_held(device.state) is None


def test_openssl_reads_the_identity_in_spite_of_its_first_line(device: Device):
    with running_endpoint(device.fleet) as server:
        device.take("enrol", server.port)
    held = read_held(device.state)
    assert held is not None
    data = (device.state / IDENTITY_NAME).read_bytes().split(b"\n", 1)[1]
    write_identity(device.state, msgspec.structs.replace(held, token="x" * 5000), data, b"")
    command = ["openssl", "x509", "-in", str(device.state / IDENTITY_NAME), "-noout", "-subject"]
    assert device.name in subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("text", ["", "plant.1.short", "x" * 300, "Plant.1." + "A" * 43, "\xff\xfe"])
def test_a_file_that_holds_no_token_is_named_and_not_repeated(tmp_path: Path, text: str):
    (tmp_path / "token").write_text(text)
    with pytest.raises(SettingsError, match="not a token") as told:
        read_token(tmp_path / "token")
    assert not text or text not in str(told.value)
