"""A PostgreSQL server for tests alone: Debian's program, run by an ordinary user, on loopback, gone with the tests."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


class PostgresServer:
    """A server that runs.

    Attributes:
        port: on loopback; it wants the password.
    """

    def __init__(self, programs: Path, as_ordinary: list[str], folder: Path) -> None:
        """Describe it; `start` starts it."""
        self.port = ports.free_port()
        self._programs, self._as_ordinary, self._folder = programs, as_ordinary, folder
        self._process: subprocess.Popen[bytes] | None = None

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

    def start(self) -> None:
        """Start it, for the first time or again with what it holds."""
        options = {
            "listen_addresses": ports.HOST,
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            # It holds what a test made up: nothing is lost with it. Without it no file is synced, but each is written:
            # what was committed outlives the server, if not the machine.
            "fsync": "off",
        }
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = process = subprocess.Popen(
                [*self._as_ordinary, str(self._programs / "postgres"), "-D", str(self._folder / "data"), *settings],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )
        wait_until(
            lambda: process.poll() is not None or _answers(self), 120, f"PostgreSQL answers; see {self._folder / 'log'}"
        )
        assert process.poll() is None, (self._folder / "log").read_text()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it.

        Args:
            how: SIGINT, the fast shutdown: clients are sent away; SIGQUIT, the immediate one, as after a crash.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server until the block ends; skip the test where there is none to run."""
    programs = _programs()
    as_ordinary, owner = _ordinary_user()
    # Not pytest's folder: nobody else may enter that.
    folder = Path(tempfile.mkdtemp(prefix="fieldloop-postgres-"))
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
        server = PostgresServer(programs, as_ordinary, folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
