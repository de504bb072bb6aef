"""The commands `fieldloop device` and `fieldloop person`, as a person or a machine uses them."""

import json
import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner, Result

from broker.audit import AUDIT_NAME, AuditError, read_log, verify_log
from broker.commands.identities import app
from broker.commands.options import read_passphrase
from broker.identity.folder import FleetFolder
from broker.identity.keys import make_request
from broker.identity.names import IdentityError
from tests.fleet_server import make_fleet

RUN = CliRunner()


@pytest.fixture
def fleet(tmp_path: Path) -> FleetFolder:
    return make_fleet(tmp_path / "fleet")


def run(fleet: FleetFolder, *arguments: str) -> Result:
    return RUN.invoke(app, [*arguments, "--folder", str(fleet.path)])


def told(fleet: FleetFolder, *arguments: str) -> dict[str, object]:
    result = run(fleet, *arguments, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, object] = json.loads(result.output)
    return answer


def test_a_device_is_added_shown_rotated_and_revoked(fleet: FleetFolder):
    added = told(fleet, "device", "add", "press-1")
    assert (added["device"], added["name"]) == ("press-1", "press-1")
    rotated = told(fleet, "device", "rotate", "press-1", "--reason", "copied")
    assert rotated["name"] == "press-1.1"
    assert told(fleet, "device", "revoke", "press-1", "--reason", "lost")["state"] == "revoked"
    shown = told(fleet, "device", "show", "press-1")["identities"]
    assert isinstance(shown, list)
    assert [(each["name"], each["state"], each["reason"]) for each in shown] == [
        ("press-1", "rotated", "copied"),
        ("press-1.1", "revoked", "lost"),
    ]
    listed = told(fleet, "device", "list")
    assert listed["tokens"] == []
    assert told(fleet, "fleet", "status")["revoked"] == ["press-1", "press-1.1"]


def test_status_names_a_key_that_is_carried_away_and_lies_open(fleet: FleetFolder):
    assert told(fleet, "fleet", "status")["unsealed_keys"] == []
    open_key = fleet.offline / "repository-root" / "root.pem"
    open_key.parent.mkdir()
    open_key.touch(mode=0o600)
    open_key.write_bytes(make_request()[0])
    assert told(fleet, "fleet", "status")["unsealed_keys"] == [str(open_key)]
    said = run(fleet, "fleet", "status").output
    assert f"repository root encrypt --root-keys-folder {open_key.parent}" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("device", "add", "Press"), "not the name of an identity"),
        (("device", "add", "operator:anna"), "give the device's id"),
        (("device", "add", "press-1.1"), "give the device's id"),
        (("device", "revoke", "nobody"), "not known"),
        (("device", "rotate", "nobody"), "not known"),
        (("device", "show", "nobody"), "not known"),
        (("device", "add", "press-1", "--expires", "soon"), "is no time"),
        (("device", "token", "--uses", "1000000"), "100000 uses"),
        (("person", "add", "press-1", "--out", "x"), "write ROLE:NAME"),
        (("person", "add", "king:anna", "--out", "x"), "no role 'king'; there are device, operator"),
        (("person", "revoke", "operator:anna"), "not known"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(fleet: FleetFolder, arguments: tuple[str, ...], why: str):
    result = run(fleet, *arguments)
    assert isinstance(result.exception, IdentityError)
    assert why in str(result.exception)
    register = fleet.open_register()
    assert register.identities() == ()
    register.close()


def test_a_device_is_not_added_twice_nor_revoked_twice(fleet: FleetFolder):
    told(fleet, "device", "add", "press-1")
    assert "known already" in str(run(fleet, "device", "add", "press-1").exception)
    told(fleet, "device", "revoke", "press-1")
    assert "revoked already" in str(run(fleet, "device", "revoke", "press-1").exception)


def test_a_request_that_a_device_made_is_signed_at_once(fleet: FleetFolder, tmp_path: Path):
    from tests.unit.broker.enrolment.test_decisions import a_request

    (tmp_path / "press-1.csr").write_bytes(a_request())
    out = tmp_path / "press-1.pem"
    result = run(fleet, "device", "add", "press-1", "--csr", str(tmp_path / "press-1.csr"), "--out", str(out))
    assert result.exit_code == 0, result.output
    assert out.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    assert told(fleet, "device", "list")["tokens"] == []


def test_a_token_in_a_file_is_for_its_owners_eyes_and_not_on_the_screen(fleet: FleetFolder, tmp_path: Path):
    out = tmp_path / "token"
    result = run(fleet, "device", "token", "--uses", "5", "--out", str(out))
    secret = out.read_text().strip().rsplit(".", 1)[1]
    assert out.stat().st_mode & 0o777 == 0o600
    assert secret not in result.output
    assert secret not in run(fleet, "device", "list").output
    assert secret.encode() not in (fleet.path / "register.db").read_bytes()


def test_a_person_gets_a_key_of_her_own_and_a_new_one_only_when_asked(fleet: FleetFolder, tmp_path: Path):
    out = tmp_path / "anna"
    told(fleet, "person", "add", "operator:anna", "--out", str(out))
    key = out / "operator-anna.key"
    assert (key.stat().st_mode & 0o777, out.stat().st_mode & 0o777) == (0o600, 0o700)
    serialization.load_pem_private_key(key.read_bytes(), None)
    before = key.read_bytes()
    assert "is there already" in str(run(fleet, "person", "add", "operator:anna", "--out", str(out)).exception)
    elsewhere = ("--out", str(tmp_path / "elsewhere"))
    assert "known already" in str(run(fleet, "person", "add", "operator:anna", *elsewhere).exception)
    assert key.read_bytes() == before
    told(fleet, "person", "add", "operator:anna", "--out", str(out), "--again")
    assert key.read_bytes() != before
    told(fleet, "person", "revoke", "operator:anna")
    # What was signed for her before must not come back with her.
    assert told(fleet, "person", "add", "operator:anna", "--out", str(out), "--again")["name"] == "operator:anna.1"
    register = fleet.open_register()
    view = register.view()
    register.close()
    assert ([identity.name for identity in view.active], view.revoked) == (["operator:anna.1"], ("operator:anna",))
    assert "not known" in str(run(fleet, "person", "add", "reader:eve", "--out", str(out), "--again").exception)


def orders_of(fleet: FleetFolder) -> list[tuple[str, str, str]]:
    return [(entry.what, entry.device, entry.detail) for entry in read_log(fleet.path / AUDIT_NAME)]


def test_every_order_about_identities_is_in_the_audit_log_and_no_secret_is(fleet: FleetFolder, tmp_path: Path):
    tokens = [
        str(told(fleet, "device", "add", "press-1")["token"]),
        str(told(fleet, "device", "token", "--uses", "3")["token"]),
        str(told(fleet, "device", "rotate", "press-1", "--reason", "copied")["token"]),
    ]
    told(fleet, "device", "revoke", "press-1", "--reason", "lost")
    told(fleet, "person", "add", "operator:anna", "--out", str(tmp_path / "anna"))
    assert run(fleet, "fleet", "server", "--broker-host", "broker.example").exit_code == 0
    orders = orders_of(fleet)
    assert [(what, device) for what, device, _ in orders] == [
        ("add", "press-1"),
        ("token", "press-1"),
        ("token", ""),
        ("rotate", "press-1"),
        ("token", "press-1"),
        ("revoke", "press-1"),
        ("add", ""),
        ("certificate", ""),
        ("server certificate", ""),
    ]
    assert [detail for what, _, detail in orders if what in {"rotate", "revoke"}] == [
        "press-1: copied",
        "press-1.1: lost",
    ]
    assert "for any new device, 3 times" in orders[2][2]
    log = (fleet.path / AUDIT_NAME).read_text()
    assert not [token for token in tokens if token.rsplit(".", 1)[1] in log]
    assert verify_log(fleet.path / AUDIT_NAME) is not None


def test_an_order_that_is_refused_is_not_in_the_log_as_if_it_had_been_done(fleet: FleetFolder, tmp_path: Path):
    told(fleet, "device", "add", "press-1")
    told(fleet, "device", "revoke", "press-1")
    before = orders_of(fleet)
    for refused in (
        ("device", "revoke", "nobody"),
        ("device", "revoke", "press-1"),
        ("device", "rotate", "nobody"),
        ("device", "add", "press-1"),
        ("device", "token", "--uses", "1000000"),
        ("person", "add", "reader:eve", "--out", str(tmp_path), "--again"),
        ("person", "revoke", "reader:eve"),
        ("fleet", "server", "--broker-host", "two words"),
    ):
        assert isinstance(run(fleet, *refused).exception, IdentityError)
    assert orders_of(fleet) == before


def test_an_order_that_cannot_be_written_down_is_not_done(fleet: FleetFolder):
    told(fleet, "device", "add", "press-1")
    (fleet.path / AUDIT_NAME).unlink()
    (fleet.path / AUDIT_NAME).mkdir()
    assert isinstance(run(fleet, "device", "revoke", "press-1").exception, AuditError)
    assert isinstance(run(fleet, "device", "add", "press-2").exception, AuditError)
    register = fleet.open_register()
    assert [(row.identity.name, row.state) for row in register.identities()] == [("press-1", "awaited")]
    register.close()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--expires", "0s"), "is no time"),
        (("--out", "{there}"), "is there already"),
        (("--out", "/nonexistent/token"), "cannot be written"),
    ],
)
@pytest.mark.parametrize(
    "command", [("device", "add", "press-2"), ("device", "rotate", "press-1"), ("device", "token")]
)
def test_a_token_that_could_not_be_given_is_found_out_before_anything_is_done(
    fleet: FleetFolder, tmp_path: Path, command: tuple[str, ...], options: tuple[str, ...], why: str
):
    told(fleet, "device", "add", "press-1")
    (tmp_path / "there").touch()
    before = orders_of(fleet)
    given = [option.format(there=tmp_path / "there") for option in options]
    result = run(fleet, *command, *given)
    assert isinstance(result.exception, IdentityError)
    assert why in str(result.exception)
    assert orders_of(fleet) == before
    listed = told(fleet, "device", "list")["devices"]
    assert isinstance(listed, list)
    assert [each["name"] for each in listed] == ["press-1"]


def test_a_folder_that_cannot_be_made_is_told(fleet: FleetFolder, tmp_path: Path):
    (tmp_path / "file").touch()
    result = run(fleet, "person", "add", "reader:eve", "--out", str(tmp_path / "file" / "x"))
    assert isinstance(result.exception, IdentityError)
    assert "cannot be made" in str(result.exception)
    assert orders_of(fleet) == []


def test_who_is_revoked_is_not_listed_as_good_and_it_is_said_when_brokers_know(fleet: FleetFolder, tmp_path: Path):
    told(fleet, "person", "add", "reader:eve", "--out", str(tmp_path / "eve"))
    assert "good until" in run(fleet, "person", "list").output
    assert "fieldloop broker render" in run(fleet, "person", "revoke", "reader:eve").output
    listed = run(fleet, "person", "list").output
    assert "good until" not in listed
    assert "good for nothing" in listed


def test_a_port_that_is_taken_is_named(fleet: FleetFolder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(fleet, "fleet", "enrolment", "up", "--port", str(port))
    assert f"127.0.0.1:{port}: Address already in use" in str(result.exception)


def test_a_folder_that_is_no_fleets_says_what_makes_one(tmp_path: Path):
    result = RUN.invoke(app, ["device", "list", "--folder", str(tmp_path)])
    assert "fieldloop fleet init makes one" in str(result.exception)


def test_the_passphrase_comes_from_a_private_file_or_from_a_person(tmp_path: Path):
    file = tmp_path / "passphrase"
    file.write_text("correct horse battery\n")
    file.chmod(0o644)
    with pytest.raises(IdentityError, match="chmod 600"):
        read_passphrase(file, is_new=True)
    file.chmod(0o600)
    assert read_passphrase(file, is_new=True) == b"correct horse battery"
    with pytest.raises(IdentityError, match="nobody to ask"):
        read_passphrase(None, is_new=True)


def test_the_register_tells_a_later_format_apart(fleet: FleetFolder):
    import sqlite3

    db = sqlite3.connect(fleet.path / "register.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(IdentityError, match="format 99"):
        fleet.open_register()


def test_a_request_made_here_is_one():
    _, request = make_request()
    assert len(request.key) == 64
