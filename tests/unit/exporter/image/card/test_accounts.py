import base64
import subprocess

import pytest

from exporter.image.card.accounts import authorized_keys, verify_user
from exporter.image.errors import CardError

BLOB = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
KEY = f"ssh-ed25519 {BLOB} anna@desk"


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_it_takes_what_ssh_keygen_makes(kind, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(tmp_path / "id")], check=True)
    key = (tmp_path / "id.pub").read_text().strip()
    assert authorized_keys((key, f" {KEY}\n")) == f"{key}\n{KEY}\n".encode()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "begins with none of"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "private one"),
        (f"{KEY}\ncommand=/bin/sh {KEY}", "one line"),
        (f'command="x" {KEY}', "begins with none of"),
        (f"ssh-dss {BLOB}", "begins with none of"),
        ("ssh-ed25519", "does not hold a key of the kind"),
        ("ssh-ed25519 not+base64!", "not base64"),
        (f"ssh-rsa {BLOB}", "does not hold a key of the kind"),
        (f"ssh-ed25519 {BLOB[:40]}", "cut off"),
        (f"ssh-ed25519 {BLOB[:20]}", "cut off"),
        (f"{KEY} é", "printable ASCII"),
        (f"{KEY}\x1b[2J", "printable ASCII"),
        (f"{KEY} {'x' * 20000}", "one line"),
    ],
)
def test_it_refuses_what_is_no_public_key(line, why):
    with pytest.raises(CardError, match=why):
        authorized_keys((line,))


def test_a_private_key_is_not_repeated():
    with pytest.raises(CardError) as refused:
        authorized_keys(("-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1rZXktdjE",))
    assert "b3Blb" not in str(refused.value)


def test_a_card_has_no_hundred_and_one_keys():
    with pytest.raises(CardError, match="101 SSH keys"):
        authorized_keys((KEY,) * 101)


@pytest.mark.parametrize("name", ["admin", "anna-2", "a_b"])
def test_a_user_may_be_called(name):
    verify_user(name)


@pytest.mark.parametrize("name", ["", "Anna", "1a", "a b", "a\nroot", "a:b", "-a", "é", "a" * 32])
def test_a_user_may_not_be_called(name):
    with pytest.raises(CardError, match="small letters"):
        verify_user(name)


@pytest.mark.parametrize("name", ["root", "operator", "fieldloop", "sshd", "systemd-network"])
def test_a_user_is_none_that_the_system_has(name):
    with pytest.raises(CardError, match="has an account"):
        verify_user(name)
