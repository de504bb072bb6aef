"""Passphrase, tokens and private keys stand in no log, on no command line, and in no file that others can read."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import pytest

from tests.fleet_server import why_not
from tests.ports import free_port
from tests.waiting import wait_until

PASSPHRASE = "correct horse battery staple"
KEY_MARK = b"PRIVATE KEY"
RENEW_ROOT = (
    "repository root renew --repository fleet/repository --keys fleet/repository-keys "
    "--root-keys-folder fleet/offline/repository-root --passphrase-file {passphrase}"
)


# All that touch a secret, or a file that holds one.
OTHER_COMMANDS = (
    "fleet status --json",
    "fleet intermediate --root-key fleet/offline/ca.key --passphrase-file {passphrase}",
    "fleet server",
    RENEW_ROOT,
    "device add press-2 --out press-2.token",
    "device rotate press-2 --out press-2.new-token --json",
    "device list",
    "device list --json",
    "device show press-2 --json",
    "person add trainer:loop --out loop --json",
    "person add operator:anna --out anna --again",
    "person list --json",
    "person revoke operator:anna",
    "device revoke press-2",
    "broker render --fleet fleet",
    "broker render --fleet fleet --nats n1=127.0.0.1:7001 --nats n2=127.0.0.1:7002 --nats n3=127.0.0.1:7003",
    "audit list --log fleet/audit.jsonl --json",
    "audit verify --log fleet/audit.jsonl",
)


class CommandLines:
    """Looks at every command line of this machine, again and again."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.002):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    self.seen.add((folder / "cmdline").read_bytes())
                except OSError:
                    continue


@pytest.fixture
def traced_openssl(tmp_path: Path) -> Path:
    """An openssl first in the PATH that writes down what it is called with: none is too quick to be seen."""
    real = next(Path(folder, "openssl") for folder in os.environ["PATH"].split(":") if Path(folder, "openssl").exists())
    folder, log = tmp_path / "bin", tmp_path / "openssl.log"
    folder.mkdir()
    script = folder / "openssl"
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {real} "$@"\n')
    script.chmod(0o755)
    return log


def fieldloop(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "trainer.cli", "--verbose", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def secrets_of(work: Path, token: str) -> list[bytes]:
    """Return what may stand nowhere in sight: the passphrase, keys, what is secret in tokens, what nodes share."""
    tokens = [token, *((work / name).read_text() for name in ("press-2.token", "press-2.new-token"))]
    routes = re.search(r'password: "([^"]+)"', (work / "fleet" / "nats" / "n1" / "nats.conf").read_text())
    assert routes is not None, "the nodes know each other by a secret"
    return [
        PASSPHRASE.encode(),
        KEY_MARK,
        routes[1].encode(),
        *(each.strip().rsplit(".", 1)[1].encode() for each in tokens),
    ]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}


def sealed_of(keys: list[Path]) -> set[str]:
    return {path.name for path in keys if b"ENCRYPTED PRIVATE KEY" in path.read_bytes()}


@pytest.mark.slow
def test_no_secret_is_where_others_can_see_it(tmp_path: Path, traced_openssl: Path):
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    # As careless as can be: what is made without care is readable for all.
    old_mask = os.umask(0)
    work, logs = tmp_path / "work", tmp_path / "logs"
    work.mkdir()
    logs.mkdir()
    with (tmp_path / "passphrase").open("w") as file:
        file.write(PASSPHRASE)
        os.fchmod(file.fileno(), 0o600)
    port = free_port()
    (work / "agent.toml").write_text(
        f'device = "press-1"\nfleet = "plant"\n[enrolment]\nurl = "https://127.0.0.1:{port}"\nca = "fleet/ca.pem"\n'
        f'[repository]\nurl = "http://127.0.0.1:9"\nroot = "root.json"\nmodel = "m"\n'
        f'[source]\nkind = "json_lines"\npath = "-"\n'
    )
    said: list[str] = []
    try:
        with CommandLines() as lines, (logs / "endpoint.log").open("wb") as log:
            init = ["fleet", "init", "fleet", "--fleet", "plant", "--broker-host", "127.0.0.1"]
            said.append(fieldloop(work, *init, "--passphrase-file", str(tmp_path / "passphrase")))
            said.append(fieldloop(work, "device", "token", "--uses", "3", "--out", "token"))
            token = (work / "token").read_text().strip()
            said.append(fieldloop(work, "person", "add", "operator:anna", "--out", "anna"))
            others = (command.format(passphrase=tmp_path / "passphrase").split() for command in OTHER_COMMANDS)
            said.extend(fieldloop(work, *command) for command in others)
            up = [sys.executable, "-m", "trainer.cli", "--verbose", "fleet", "enrolment", "up", "--port", str(port)]
            endpoint = subprocess.Popen([*up, "--json"], cwd=work, env=environment(), stdout=log, stderr=log)
            try:
                wait_until(lambda: b'"port"' in (logs / "endpoint.log").read_bytes(), 30)
                enrol = [sys.executable, "-m", "edge_agent", "enrol", "--token-file", "token", "--json", "--verbose"]
                search_path = f"{traced_openssl.parent / 'bin'}:{os.environ['PATH']}"
                for _ in range(2):
                    done = subprocess.run(
                        enrol,
                        cwd=work,
                        env=environment() | {"PATH": search_path},
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    said.append(done.stdout + done.stderr)
                assert json.loads(said[-2])["device"] == "press-1", said[-2]
            finally:
                endpoint.send_signal(signal.SIGTERM)
                endpoint.wait(10)
    finally:
        os.umask(old_mask)
    secrets = secrets_of(work, token)
    assert traced_openssl.read_text().count("genpkey") == 1
    shown = [*lines.seen, traced_openssl.read_bytes(), *map(str.encode, said), (logs / "endpoint.log").read_bytes()]
    for secret in secrets:
        assert not [text for text in shown if secret in text]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    keys = [path for path in files if KEY_MARK in path.read_bytes()]
    assert {path.name for path in keys} >= {"ca.key", "intermediate.key", "server.key", "identity.pem"}
    assert sealed_of(keys) == {"ca.key", "root.pem"} == {path.name for path in keys if "offline" in path.parts}
    for path in files:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            assert not [secret for secret in secrets if secret in path.read_bytes()], path
    assert not (work / "token").exists()
