"""Tests of exporter.image.over_ssh.installing; against a real board in tests/integration."""

import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from exporter.image.customise.package import load_package
from exporter.image.over_ssh.connection import OnLine
from exporter.image.over_ssh.errors import BoardError
from exporter.image.over_ssh.installing import Asked, install, prepare
from exporter.image.over_ssh.look import SCRIPT
from tests.cards import make_user_files
from tests.unit.exporter.image.customise.test_package import write_package
from tests.unit.exporter.image.over_ssh.test_look import PRINTED

PASSWORD = "correct horse battery"
SECRET = "a secret of the sink"


@dataclass
class Wire:
    """Keeps what would be sent, and answers as a board does."""

    seen: bytes = PRINTED
    answer: tuple[int, bytes] = (0, b"")
    commands: list[str] = field(default_factory=list)
    given: list[bytes] = field(default_factory=list)

    def run(self, command: str, given: bytes, on_line: OnLine | None = None) -> tuple[int, bytes]:
        """Answer."""
        self.commands.append(command)
        self.given.append(given)
        if on_line is not None:
            on_line("as it comes")
        return (0, self.seen) if given == SCRIPT else self.answer


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """What is installed, with a secret in it."""
    folder = tmp_path_factory.mktemp("user")
    user = make_user_files(folder)
    mqtt = 'kind = "mqtt"\ntopic = "answers"\nusername = "me"\npassword_file = "password"'
    (folder / "password").write_text(SECRET)
    user.agent.write_text(user.agent.read_text().replace('kind = "json_lines"\npath = "answers.jsonl"', mqtt))
    return Asked(user.card, (load_package(write_package(folder)),), sudo_password=PASSWORD)


def test_no_secret_is_an_argument_of_a_program_and_what_is_sent_has_it(asked: Asked):
    wire = Wire(seen=PRINTED.replace(b"fieldloop sudo=free\n", b""))
    prepared = prepare(wire, asked)
    install(wire, prepared, lambda _line: None)
    for secret in (PASSWORD, SECRET):
        assert not any(secret in command for command in wire.commands)
        assert secret.encode() in wire.given[-1]
        assert secret not in repr(prepared)
        assert secret not in repr(asked)


def test_the_password_is_asked_for_and_tried_before_the_archive_goes(asked: Asked):
    wire = Wire(seen=PRINTED.replace(b"fieldloop sudo=free\n", b""), answer=(1, b""))
    with pytest.raises(BoardError, match="does not take this password"):
        prepare(wire, asked)
    assert wire.given[-1] == f"{PASSWORD}\n".encode()


def test_where_sudo_asks_nothing_the_password_is_not_sent(asked: Asked):
    wire = Wire()
    prepared = prepare(wire, asked)
    assert prepared.command.startswith("sudo -n sh -c '")
    assert PASSWORD.encode() not in prepared.given
    with tarfile.open(fileobj=io.BytesIO(prepared.given)) as tar:
        assert {member.name: member.mode for member in tar.getmembers()} == {"apply.sh": 0o600, "payload.tar": 0o600}


def test_root_needs_no_sudo(asked: Asked):
    assert prepare(Wire(seen=PRINTED.replace(b"uid=1000", b"uid=0")), asked).command.startswith("sh -c '")


def test_the_command_has_no_quote_within_its_quotes_for_any_login_shell(asked: Asked):
    command = prepare(Wire(), asked).command
    assert command.count("'") == 2
    assert "\n" not in command
    assert "!" not in command


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        (
            b"  E: Unable to locate\nrefused: the package cannot be installed here\n",
            "the package cannot be installed here",
        ),
        (b"x\nfailed: the settings of before are back\nConnection closed\n", "failed: the settings of before are back"),
        (b"sh: 1: tar: not found\n", "sh: 1: tar: not found"),
        (b"", "it ended with 1, without a word"),
    ],
)
def test_a_failure_is_told_in_the_boards_own_last_words(asked: Asked, printed: bytes, told: str):
    wire = Wire(answer=(1, printed))
    prepared = prepare(wire, asked)
    with pytest.raises(BoardError) as failed:
        install(wire, prepared, lambda _line: None)
    assert str(failed.value) == told


def test_there_must_be_a_package_for_the_board(asked: Asked, tmp_path: Path):
    other = Asked(asked.card, (load_package(write_package(tmp_path, "armhf")),))
    with pytest.raises(Exception, match="the board is arm64, and there is no package for it"):
        prepare(Wire(), other)
