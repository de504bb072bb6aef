import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.identity.fields import parse_host
from broker.identity.files import write_file
from broker.identity.folder import FleetFile, FleetFolder, init_fleet
from broker.identity.keys import make_request
from broker.identity.names import Identity, IdentityError, Role

ABOUT = FleetFile("plant", ("broker.example", "10.0.0.5"), 8883, 8884)
PASSPHRASE = b"correct horse battery"
NOW_S = 1_800_000_000.0


@pytest.fixture
def fleet(tmp_path: Path) -> FleetFolder:
    return init_fleet(tmp_path / "fleet", ABOUT, PASSPHRASE, NOW_S)


def test_no_key_and_no_folder_is_open_to_others(fleet: FleetFolder):
    secret = [path for path in fleet.path.rglob("*") if path.suffix in {".key", ".db"}]
    assert {path.name for path in secret} == {"ca.key", "intermediate.key", "server.key", "register.db"}
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (fleet.path, fleet.offline)} == {0o700}


def test_the_roots_key_opens_by_the_passphrase_only(fleet: FleetFolder):
    sealed = fleet.root_key.read_bytes()
    assert b"ENCRYPTED" in sealed
    serialization.load_pem_private_key(sealed, PASSPHRASE)
    with pytest.raises(ValueError):
        serialization.load_pem_private_key(sealed, b"correct horse batterx")


def test_without_the_offline_folder_everything_but_a_new_intermediate_goes_on(fleet: FleetFolder, tmp_path: Path):
    drawer = tmp_path / "drawer"
    shutil.move(fleet.offline, drawer)
    again = FleetFolder(fleet.path)
    _, request = make_request()
    again.open_issuer().issue(request, Identity(Role.DEVICE, "press-1"), NOW_S, 30)
    again.renew_server(ABOUT.hosts, NOW_S)
    with pytest.raises(IdentityError, match="right passphrase"):
        again.renew_intermediate(drawer / "ca.key", b"wrong passphrase", NOW_S)
    before = again.intermediate.read_bytes()
    again.renew_intermediate(drawer / "ca.key", PASSPHRASE, NOW_S)
    assert again.intermediate.read_bytes() != before
    again.renew_server(ABOUT.hosts, NOW_S)


def test_a_fleet_is_never_made_over_another_one(fleet: FleetFolder):
    before = {path: path.read_bytes() for path in fleet.path.rglob("*") if path.is_file()}
    with pytest.raises(IdentityError, match="holds a fleet already"):
        init_fleet(fleet.path, ABOUT, PASSPHRASE, NOW_S)
    (fleet.path / "fleet.json").unlink()
    shutil.rmtree(fleet.offline)
    with pytest.raises(IdentityError, match="the rest of one"):
        init_fleet(fleet.path, ABOUT, PASSPHRASE, NOW_S)
    after = {path: path.read_bytes() for path in fleet.path.rglob("*") if path.is_file()}
    assert after.items() <= before.items()


def test_a_file_that_is_there_is_replaced_only_where_that_is_meant(tmp_path: Path):
    path = tmp_path / "a.key"
    write_file(path, b"first", is_secret=True)
    with pytest.raises(IdentityError, match="is there already"):
        write_file(path, b"second", is_secret=True)
    assert path.read_bytes() == b"first"
    write_file(path, b"second", is_secret=True, replaces=True)
    assert (path.read_bytes(), [file.name for file in tmp_path.iterdir()]) == (b"second", ["a.key"])


def test_the_servers_certificate_holds_every_host_and_is_for_servers_only(fleet: FleetFolder):
    leaf = x509.load_pem_x509_certificates(fleet.server_chain.read_bytes())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.5"]
    uses = list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert uses == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_nothing_that_is_signed_outlives_the_intermediate(fleet: FleetFolder):
    issuer = fleet.open_issuer()
    _, request = make_request()
    identity = Identity(Role.DEVICE, "press-1")
    late_s = issuer.not_after_utc_s - 86_400
    assert issuer.issue(request, identity, late_s, 30).not_after_utc_s == issuer.not_after_utc_s
    with pytest.raises(IdentityError, match="intermediate has ended"):
        issuer.issue(request, identity, issuer.not_after_utc_s, 30)


@pytest.mark.parametrize(
    ("about", "passphrase", "why"),
    [
        (ABOUT, b"short", "shorter than 12"),
        (FleetFile("Plant!", ("a",), 1, 2), PASSPHRASE, "fleet name"),
        (FleetFile("plant", (), 1, 2), PASSPHRASE, "needs a host"),
        (FleetFile("plant", ("bücher.example",), 1, 2), PASSPHRASE, "no host name"),
        (FleetFile("plant", ("two words",), 1, 2), PASSPHRASE, "no host name"),
        (FleetFile("plant", ("broker.example:8883",), 1, 2), PASSPHRASE, "no port"),
        (FleetFile("plant", ("10.0.0.256",), 1, 2), PASSPHRASE, "no host name"),
        (FleetFile("plant", ("-x.example",), 1, 2), PASSPHRASE, "no host name"),
        (FleetFile("plant", ("",), 1, 2), PASSPHRASE, "no host name"),
        (FleetFile("plant", ("*.example",), 1, 2), PASSPHRASE, "no host name"),
    ],
)
def test_what_cannot_be_a_fleet_is_refused(tmp_path: Path, about: FleetFile, passphrase: bytes, why: str):
    with pytest.raises(IdentityError, match=why):
        init_fleet(tmp_path / "fleet", about, passphrase, NOW_S)
    assert not (tmp_path / "fleet").exists()


@pytest.mark.parametrize("host", ["broker", "broker.example", "broker_1", "3com.example", "::1", "10.0.0.5"])
def test_names_and_addresses_of_a_server_are_taken(host: str):
    parse_host(host)


def test_a_key_that_others_can_read_is_not_used(fleet: FleetFolder):
    fleet.intermediate_key.chmod(0o644)
    with pytest.raises(IdentityError, match="chmod 600"):
        fleet.open_issuer()


def test_a_key_of_another_certificate_is_not_used(fleet: FleetFolder):
    fleet.intermediate_key.write_bytes(fleet.server_key.read_bytes())
    with pytest.raises(IdentityError, match="do not belong together"):
        fleet.open_issuer()


@pytest.mark.parametrize("text", ["", "{}", "[" * 1000, '{"fleet": "x", "hosts": [], "broker_port": 1}', "\x00"])
def test_a_folder_that_is_no_fleets_is_told_apart(fleet: FleetFolder, text: str):
    (fleet.path / "fleet.json").write_text(text)
    with pytest.raises(IdentityError, match=r"fleet\.json"):
        FleetFolder(fleet.path)


def test_a_name_that_is_too_long_for_a_certificate_is_refused(fleet: FleetFolder):
    _, request = make_request()
    with pytest.raises(IdentityError, match="64 characters"):
        fleet.open_issuer().issue(request, Identity(Role.DEVICE, "x" * 63, 1), NOW_S, 30)
