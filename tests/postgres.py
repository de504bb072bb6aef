"""A PostgreSQL server for tests alone: Debian's program, run by an ordinary user, on loopback, gone with the tests."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests import ports
from tests.waiting import wait_until

USER: Final = "fieldloop"
PASSWORD: Final = "tulip@7:x"
_DEBIAN: Final = Path("/usr/lib/postgresql")
# It refuses to be run by root.
_ORDINARY: Final = ("postgres", "nobody")


@dataclass(frozen=True)
class PostgresServer:
    """A server that runs.

    Attributes:
        port: on loopback; it wants the password.
        process_id: of the postmaster.
    """

    port: int
    process_id: int

    def address(self, database: str = "postgres", *, password: bool = True) -> str:
        """Return the address of a database, as SQLAlchemy and MLflow take it."""
        who = f"{USER}:{PASSWORD.replace('@', '%40').replace(':', '%3A')}" if password else USER
        return f"postgresql+psycopg://{who}@{ports.HOST}:{self.port}/{database}"

    def new_database(self, name: str) -> str:
        """Make an empty database, and return its address."""
        engine = create_engine(self.address(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}"'))
        return self.address(name)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server until the block ends; skip the test where there is none to run."""
    programs = _programs()
    as_ordinary, owner = _ordinary_user()
    # Not pytest's folder: nobody else may enter that.
    folder = Path(tempfile.mkdtemp(prefix="fieldloop-postgres-"))
    port = ports.free_port()
    try:
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if owner is not None:
            for path in (folder, secret):
                os.chown(path, owner, -1)
        made = subprocess.run(
            [
                *(*as_ordinary, str(programs / "initdb"), "--pgdata", str(folder / "data"), "--no-sync"),
                *("--username", USER, "--auth", "scram-sha-256", "--pwfile", str(secret), "--locale", "C.UTF-8"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        assert made.returncode == 0, made.stderr
        yield from _served(programs, as_ordinary, folder, port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _served(programs: Path, as_ordinary: list[str], folder: Path, port: int) -> Iterator[PostgresServer]:
    options = {
        "listen_addresses": ports.HOST,
        "port": str(port),
        "unix_socket_directories": str(folder),
        # It holds what a test made up: nothing is lost with it.
        "fsync": "off",
    }
    settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*as_ordinary, str(programs / "postgres"), "-D", str(folder / "data"), *settings],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        server = PostgresServer(port, process.pid)
        wait_until(
            lambda: process.poll() is not None or _answers(server), 120, f"PostgreSQL answers; see {folder / 'log'}"
        )
        assert process.poll() is None, (folder / "log").read_text()
        yield server
    finally:
        # The fast shutdown: clients are sent away.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(server: PostgresServer) -> bool:
    engine = create_engine(server.address(), poolclass=NullPool, connect_args={"connect_timeout": 5})
    try:
        with engine.connect():
            return True
    except OperationalError:
        return False


def _programs() -> Path:
    found = sorted(_DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    if on_path is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    return Path(on_path).resolve().parent


def _ordinary_user() -> tuple[list[str], int | None]:
    """Return what makes a command one of an ordinary user, and that user; nothing where we are one."""
    if os.geteuid() != 0:
        return [], None
    if shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses to be run by root, and setpriv is missing: apt-get install util-linux")
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = next(known[name] for name in _ORDINARY if name in known)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"], entry.pw_uid
