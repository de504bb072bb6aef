import subprocess
import tomllib
from pathlib import PurePosixPath

import msgspec
import pytest

from edge_agent.scoring.selection import Device
from edge_agent.settings import load_settings
from edge_agent.update.record import Record
from edge_agent.update.slots import SlotStore
from edge_agent.update.states import State
from exporter.image.card.files import Card, card_files, card_links, kernel_arguments, root_packages
from exporter.image.card.loading import load_card
from exporter.image.errors import CardError
from tests.unit.exporter.image.card.cards import (
    AGENT,
    ENROLMENT,
    IDENTITY,
    KEY,
    PI3,
    TOKEN,
    write_card,
    write_certificates,
    write_update,
)


def contents(card: Card) -> dict[str, bytes]:
    return {str(file.path): file.content for file in card_files(card)}


def modes(card: Card) -> dict[str, int]:
    return {str(file.path): file.mode for file in card_files(card)}


def test_a_board_reads_the_settings_and_finds_what_they_name(tmp_path):
    write_certificates(tmp_path)
    card = load_card(write_card(tmp_path, AGENT + ENROLMENT), PI3, token=tmp_path / "token")
    found = contents(card)
    board = tmp_path / "board"
    board.mkdir()
    (board / "agent.toml").write_bytes(found["/data/card/fieldloop/agent.toml"])
    text = (board / "agent.toml").read_text().replace("press-*", "press-7")
    (board / "agent.toml").write_text(text)
    settings = load_settings(board / "agent.toml")
    assert settings.state == "/var/lib/fieldloop"
    assert settings.sink.path == "/var/lib/fieldloop/answers.jsonl"
    assert settings.repository.root == "/etc/fieldloop/root.json"
    assert settings.source.path == "/etc/fieldloop/rows.csv"
    assert settings.enrolment is not None
    assert settings.enrolment.token_file == "/var/lib/fieldloop/claim-token"
    assert found["/data/card/fieldloop/root.json"] == (tmp_path / "root.json").read_bytes()
    assert found["/data/card/fieldloop/ca.pem"] == (tmp_path / "ca.pem").read_bytes()
    assert found["/data/card/fieldloop/rows.csv"] == (tmp_path / "rows.csv").read_bytes()
    assert found["/data/fieldloop/claim-token"] == f"{TOKEN}\n".encode()
    assert modes(card)["/data/fieldloop/claim-token"] == 0o600


def test_what_has_its_default_is_not_repeated(tmp_path):
    text = contents(load_card(write_card(tmp_path), PI3))["/data/card/fieldloop/agent.toml"].decode()
    assert set(tomllib.loads(text)) == {"device", "fleet", "repository", "source", "sink", "state"}


def test_a_key_is_where_the_agent_alone_can_read_it(tmp_path):
    write_certificates(tmp_path)
    card = load_card(write_card(tmp_path, AGENT + IDENTITY), PI3)
    assert card.settings.broker.key == "/var/lib/fieldloop/card/press.key"
    assert modes(card)["/data/fieldloop/card/press.key"] == 0o600
    assert modes(card)["/data/card/fieldloop/press.pem"] == 0o644
    assert "PRIVATE" not in repr(card)


def test_its_bundle_goes_on_trial_at_the_first_start(tmp_path):
    path = write_card(tmp_path, card='bundle = "rain.update"')
    write_update(tmp_path)
    found = contents(load_card(path, PI3))
    state = tmp_path / "state"
    for name, content in found.items():
        if name.startswith("/data/fieldloop/"):
            place = state / PurePosixPath(name).relative_to("/data/fieldloop")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    store = SlotStore(state)
    record = store.load().record
    assert record.state is State.STAGED
    assert record.candidate is not None
    assert store.load_bundle("a", record.candidate).variant.name == "native"
    assert msgspec.json.decode((state / "update.json").read_bytes(), type=Record) == record
    assert (state / "tuf/timestamp.json").exists()


def test_a_bundle_for_other_boards_is_refused(tmp_path):
    path = write_card(tmp_path, card='bundle = "rain.update"')
    write_update(tmp_path)
    with pytest.raises(CardError, match=r"is not for this board.*native.*not installed"):
        load_card(path, Device("aarch64", ("onnx",), 1 << 30))


def test_a_bundle_of_another_repository_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    write_card(tmp_path / "other")
    write_update(tmp_path / "other")
    path = write_card(tmp_path, card='bundle = "other/rain.update"')
    with pytest.raises(CardError, match="not signed by the keys"):
        load_card(path, PI3)


def test_a_bundle_that_the_board_does_not_take_is_refused(tmp_path):
    path = write_card(tmp_path, AGENT.replace('"rain"', '"snow"'), 'bundle = "rain.update"')
    write_update(tmp_path)
    with pytest.raises(CardError, match="takes bundles named 'snow'"):
        card_files(load_card(path, PI3))


def test_a_damaged_bundle_is_refused(tmp_path):
    path = write_card(tmp_path, card='bundle = "rain.update"')
    update = write_update(tmp_path)
    data = bytearray(update.read_bytes())
    data[len(data) // 2] ^= 1
    update.write_bytes(data)
    with pytest.raises(CardError, match=r"rain\.update"):
        load_card(path, PI3)


def test_the_same_files_make_the_same_card(tmp_path):
    path = write_card(tmp_path, card=f'bundle = "rain.update"\n[ssh]\nkeys = ["{KEY}"]')
    write_update(tmp_path)
    assert card_files(load_card(path, PI3)) == card_files(load_card(path, PI3))


def test_cards_of_two_devices_share_their_root(tmp_path):
    write_certificates(tmp_path)
    write_update_of = write_card(tmp_path, AGENT + ENROLMENT, '[network]\ncountry = "DE"\n[[network.wifi]]\nssid = "a"')
    one = load_card(write_update_of, PI3, device="press-1")
    two = load_card(write_update_of, PI3, device="press-2", token=tmp_path / "token")
    assert one.system == two.system
    differing = {*card_files(one)} ^ {*card_files(two)}
    assert {file.partition for file in differing} == {"data"}
    assert kernel_arguments(one) != kernel_arguments(two)


def test_a_name_that_stands_for_many_leaves_the_machine_its_own(tmp_path):
    path = write_card(tmp_path)
    assert not [each for each in kernel_arguments(load_card(path, PI3)) if each.startswith("systemd.")]
    named = kernel_arguments(load_card(path, PI3, device="press_1"))
    assert "systemd.hostname=press-1" in named
    assert [each for each in named if each.startswith("systemd.machine_id=") and len(each) == 51]


def test_who_may_log_in_is_in_a_file_or_stands_there(tmp_path):
    path = write_card(tmp_path, card=f'[ssh]\nuser = "anna"\nkeys = ["anna.pub", "{KEY}"]')
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "anna")], check=True)
    card = load_card(path, PI3)
    assert contents(card)["/data/card/authorized_keys"] == (tmp_path / "anna.pub").read_bytes() + f"{KEY}\n".encode()
    assert "openssh-server" in root_packages(card.system)


def test_without_a_key_there_is_no_server_for_ssh_and_no_account(tmp_path):
    card = load_card(write_card(tmp_path), PI3)
    assert "openssh-server" not in root_packages(card.system)
    assert not [path for path in contents(card) if "ssh" in path or "sudoers" in path or "sysusers" in path]
    assert not [link for link in card_links(card.system) if "ssh" in link.path.name]


def test_a_passphrase_may_lie_in_a_file_of_its_own(tmp_path):
    wifi = '[network]\ncountry = "DE"\n[[network.wifi]]\nssid = "plant"\npassphrase_file = "p"\n'
    path = write_card(tmp_path, card=wifi)
    (tmp_path / "p").write_text("correct horse\n")
    card = load_card(path, PI3)
    assert card.network.wifi[0].passphrase == "correct horse"
    assert "correct horse" not in repr(card)
    assert "wpasupplicant" in root_packages(card.system)


@pytest.mark.parametrize(
    ("agent", "card", "why"),
    [
        (AGENT, "bundel = 'x'", "unknown key 'bundel'; did you mean 'bundle'"),
        (AGENT, "[network.wifi]\nssid = 'x'", "network.wifi"),
        (AGENT, "[[network.wifi]]\nssid = 'x'\npasword = 'y'", r"unknown key 'network.wifi\[0\].pasword'"),
        (AGENT, "[ssh]\nkeys = []", "ssh.keys"),
        (AGENT, "[ssh]\nkeys = ['absent.pub']", "absent.pub: cannot be read"),
        (AGENT, "[ssh]\nkeys = ['rows.csv']", "begins with none of"),
        (AGENT, "[system]\nwatchdog_s = 60", "watchdog_s"),
        (AGENT, "[system]\njournal = 'keep'", "did you mean 'kept'"),
        (AGENT, "agent = 'absent.toml'", "absent.toml: cannot be read"),
        (AGENT, "token = 'token'", r"name none, under \[enrolment\]"),
        (AGENT, "device = 'Press 1'", "key 'device'"),
        (AGENT, "device = 'press\\n1'", "key 'device'"),
        (AGENT, "device = 'a-*-*'", "key 'device'"),
        (AGENT, "bundle = 'absent.update'", "absent.update"),
        (AGENT, "bundle = 'rows.csv'", "rows.csv"),
        (AGENT.replace("root.json", "absent.json"), "", "absent.json: cannot be read"),
        (AGENT.replace("root.json", "rows.csv"), "", r"is not the root\.json"),
        (AGENT.replace('"rows.csv"', '"a b.csv"'), "", "letters, digits"),
        (AGENT.replace('"rows.csv"', '"-"').replace("csv", "json_lines"), "", "standard input"),
        (AGENT.replace("answers.jsonl", "../answers.jsonl"), "", "leads out of"),
        (AGENT + ENROLMENT.replace("ca.pem", "rows.csv"), "", "no certificate"),
        (AGENT + ENROLMENT.replace("ca.pem", "press.pem"), "", "is not the certificate of an authority"),
        (AGENT + IDENTITY.replace("press.key", "ca.key"), "", "do not belong together"),
        (AGENT + ENROLMENT, "token = 'rows.csv'", "not a token"),
        (AGENT.replace('"plant"', '"yard"') + ENROLMENT, "token = 'token'", "is for fleet plant"),
        (AGENT.replace("url", "uri"), "", "did you mean 'repository.url'"),
    ],
)
def test_it_refuses_with_the_reason(tmp_path, agent, card, why):
    write_certificates(tmp_path)
    path = write_card(tmp_path, agent, card)
    with pytest.raises(CardError, match=why):
        card_files(load_card(path, PI3))


def test_an_encrypted_key_is_refused(tmp_path):
    write_certificates(tmp_path)
    command = ["openssl", "pkey", "-in", "press.key", "-aes256", "-passout", "pass:secret", "-out", "e.key"]
    subprocess.run(command, cwd=tmp_path, check=True)
    path = write_card(tmp_path, AGENT + IDENTITY.replace("press.key", "e.key"))
    with pytest.raises(CardError, match="is encrypted"):
        load_card(path, PI3)


def test_two_files_of_one_name_are_refused(tmp_path):
    write_certificates(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/ca.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
    path = write_card(tmp_path, AGENT + ENROLMENT + '[broker]\nca = "sub/ca.pem"\n')
    with pytest.raises(CardError, match="two files of one name"):
        load_card(path, PI3)
