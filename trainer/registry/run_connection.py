"""The lock of a production run in PostgreSQL: an advisory lock of a connection that does nothing else.

It must reach the server itself, or a pool that keeps a session: one that shares connections by transaction would give
the lock to whoever comes next.
"""

import hashlib
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from trainer.errors import RegistryError
from trainer.project.stores import hidden
from trainer.registry.holder import holder_text

# A machine that lost its power says no goodbye. The server asks after half a minute of silence, three times; Linux
# alone would wait for two hours. And it must not end a connection for being idle, which is all that it is there for.
_SETTINGS: Final = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "idle_session_timeout": "0",
}
_CONNECT_S: Final = 10
# So much of a name the server keeps.
_MOST_NAME: Final = 63
_WHO: Final = text(
    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
    "AND ((l.classid::bigint << 32) | l.objid::bigint) = :number"
)


class RunConnection:
    """The lock of one model's runs, in one database."""

    def __init__(self, address: str, name: str) -> None:
        self._address, self._name = address, name
        digest = hashlib.sha256(f"fieldloop run {name}".encode()).digest()
        self._number = int.from_bytes(digest[:8], "big", signed=True)
        self._connection: Connection | None = None

    def take(self) -> str:
        """Take the lock if it is free; return who has it, empty: we have.

        Raises:
            RegistryError: the server cannot be asked.
        """
        self.release()
        try:
            connection = self._connected()
        except SQLAlchemyError as error:
            raise _untold(self._address, error) from error
        try:
            got = connection.execute(text("SELECT pg_try_advisory_lock(:number)"), {"number": self._number}).scalar()
            other = "" if got else str(connection.execute(_WHO, {"number": self._number}).scalar() or "another machine")
        except SQLAlchemyError as error:
            connection.close()
            raise _untold(self._address, error) from error
        if other:
            connection.close()
            return other
        self._connection = connection
        return ""

    def is_held(self) -> bool:
        """Tell whether the connection lives: the lock ends with it, and not before."""
        if self._connection is None:
            return False
        try:
            self._connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """End the connection, and with it the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # The server may be away; then there is no lock any more.
            with suppress(SQLAlchemyError):
                connection.close()

    def _connected(self) -> Connection:
        engine = create_engine(
            self._address,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": _CONNECT_S, "application_name": holder_text()[:_MOST_NAME]},
        )
        connection = engine.connect()
        for name, value in _SETTINGS.items():
            # An older server has not all of them.
            connection.execute(
                text("SELECT set_config(name, :value, false) FROM pg_settings WHERE name = :name"),
                {"name": name, "value": value},
            )
        return connection


def _untold(address: str, error: SQLAlchemyError) -> RegistryError:
    why = hidden(str(error)).partition("\n")[0]
    return RegistryError(f"{hidden(address)}: no production run without its lock: {why}")
