"""Opens the online store that an address means."""

from pathlib import Path
from typing import Final

from trainer.errors import DataError
from trainer.features.online.lookup import OnlineStore
from trainer.features.online.postgres_store import PostgresOnline
from trainer.features.online.sqlite_store import SqliteOnline
from trainer.project.stores import hidden

_FILE: Final = "sqlite:///"
_SERVERS: Final = ("postgresql://", "postgresql+psycopg://")


def open_online(address: str) -> OnlineStore:
    """Open an online store: ``sqlite:///file``, or ``postgresql://user@host/name``.

    Raises:
        DataError: an address of another kind, or the store cannot be used.
    """
    if address.startswith(_FILE):
        return SqliteOnline(Path(address.removeprefix(_FILE)))
    if address.startswith(_SERVERS):
        return PostgresOnline(address.replace("postgresql://", "postgresql+psycopg://", 1))
    raise DataError(f"{hidden(address)} is no address of online features; it begins with {_FILE} or {_SERVERS[0]}")
