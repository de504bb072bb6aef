"""A real Mosquitto lets in whom the fleet's authority names, and nobody else; a device talks to its own server only."""

import random
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker.client import Endpoint, WireClient
from broker.identity.folder import FleetFolder
from broker.identity.keys import make_request
from broker.identity.names import parse_identity
from edge_agent.pinned_tls import open_pinned_tls
from tests.fleet_server import SecureBroker, make_fleet, real_utc_s, running_broker, why_not
from tests.waiting import wait_until

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> FleetFolder:
    return make_fleet(tmp_path_factory.mktemp("fleet") / "fleet")


@pytest.fixture(scope="module")
def broker(fleet: FleetFolder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_broker(fleet, tmp_path_factory.mktemp("broker")) as running:
        yield running


def identity(fleet: FleetFolder, folder: Path, name: str = "press-1", at_s: float | None = None) -> Path:
    """Sign a certificate and write it with its key, as a device keeps them."""
    key, request = make_request()
    issued = fleet.open_issuer().issue(request, parse_identity(name), at_s or real_utc_s(), 30)
    file = folder / f"{fleet.path.parent.name}-{name}-{at_s}.pem"
    file.write_bytes(key + issued.chain)
    return file


def tls(fleet: FleetFolder, certificate: Path | None, utc_s: Callable[[], float] | None = real_utc_s) -> ssl.SSLContext:
    return open_pinned_tls(str(fleet.ca), None if certificate is None else str(certificate), None, utc_s)


def client(endpoint: Endpoint, context: ssl.SSLContext | None, name: str) -> WireClient:
    made = WireClient(endpoint, name, filters=(), on_delivery=lambda _: None, rng=random.Random(1), tls=context)
    made.start()
    return made


def test_the_broker_lets_in_the_fleets_certificates_and_no_others(
    broker: SecureBroker, fleet: FleetFolder, tmp_path: Path
):
    other = make_fleet(tmp_path / "other")
    strangers = {
        "no certificate": tls(fleet, None),
        "another authority": tls(fleet, identity(other, tmp_path)),
        "ended yesterday": tls(fleet, identity(fleet, tmp_path, at_s=real_utc_s() - 31 * DAY_S)),
        "a server's": server_as_client(fleet),
        "no TLS": None,
    }
    links = {name: client(broker.endpoint, context, name.replace(" ", "-")) for name, context in strangers.items()}
    good = client(broker.endpoint, tls(fleet, identity(fleet, tmp_path)), "press-1")
    try:
        wait_until(lambda: good.is_connected)
        # Each of them has tried by now, or tries again while the good one is asked once more.
        wait_until(lambda: broker.log.read_text().count("certificate verify failed") >= 2)
        wait_until(lambda: "peer did not return a certificate" in broker.log.read_text())
        assert [name for name, link in links.items() if link.is_connected] == []
    finally:
        for link in (*links.values(), good):
            link.close()
    assert "u'press-1'" in broker.log.read_text()


def server_as_client(fleet: FleetFolder) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(fleet.ca))
    context.load_cert_chain(fleet.server_chain, fleet.server_key)
    return context


@pytest.mark.parametrize(
    ("host", "ahead_days", "why"),
    [
        ("localhost", 0, "Hostname mismatch"),
        ("127.0.0.1", 400, "ended at"),
        ("127.0.0.1", -2, "not good before"),
    ],
)
def test_a_device_does_not_talk_to_a_server_of_another_name_or_time(
    broker: SecureBroker, fleet: FleetFolder, tmp_path: Path, host: str, ahead_days: float, why: str
):
    context = tls(fleet, identity(fleet, tmp_path), lambda: real_utc_s() + ahead_days * DAY_S)
    with closing(client(Endpoint(host, broker.endpoint.port), context, "press-1")) as link:
        wait_until(lambda: why in link._reason)
        assert not link.is_connected


def test_a_device_does_not_talk_to_a_server_of_another_authority(broker: SecureBroker, tmp_path: Path):
    other = make_fleet(tmp_path / "other")
    with closing(client(broker.endpoint, tls(other, identity(other, tmp_path)), "press-1")) as link:
        wait_until(lambda: "certificate verify failed" in link._reason)
        assert not link.is_connected


def test_a_device_speaks_no_tls_older_than_1_2(fleet: FleetFolder):
    assert tls(fleet, None).minimum_version >= ssl.TLSVersion.TLSv1_2
