"""Lets one promotion of a model happen at a time: in any thread, process and, for a shared store, on any machine.

Beside an SQLite file a file is locked; PostgreSQL has advisory locks. Both end with their holder's death. Through an
MLflow server there is neither, and no compare-and-swap of an alias: there a claim is a version of a reserved model,
whose numbers the server gives out one by one. The lowest claim that lives holds; one whose holder died ends by its age.
"""

import fcntl
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from edge_agent.clock import Clock
from trainer.errors import BusyError, RegistryError
from trainer.project.stores import hidden
from trainer.registry.tracking import is_server, told

# Raises BusyError where what was held may be held by another by now: asked before every write.
VerifyHeld = Callable[[], None]
Lock = Callable[[str], AbstractContextManager[VerifyHeld]]

CLAIMS_SUFFIX: Final = "--promotion-claims"
# A promotion is some ten requests: whoever held longer is dead, or must not go on.
CLAIM_S: Final = 60.0
WAIT_S: Final = 150.0
# What a write may take that was begun while the claim was ours.
_WRITE_S: Final = 10.0
_POLL_S: Final = 0.1
_BUSY: Final = "another promotion of model {name!r} goes on for {wait:.0f} s already; try again later"
# A claim names no files. Servers refuse a source on their own disk.
_NO_SOURCE: Final = "fieldloop:/promotion-claim"


def lock_of(address: str, client: MlflowClient, clock: Clock) -> Lock:
    """Return the lock of a store's kind; the lock takes a model's name.

    Args:
        address: of the metadata store.
        client: of the same store.
        clock: for how long is waited, and how long a claim lasts.
    """
    if is_server(address):
        return lambda name: _claimed(client, name, clock)
    if urlsplit(address).scheme.startswith("postgresql"):
        return lambda name: _advisory(address, name)
    return lambda name: _file(Path(make_url(address).database or "mlflow.db"), name, clock)


@contextmanager
def _file(store: Path, name: str, clock: Clock) -> Iterator[VerifyHeld]:
    path = store.with_name(f"{store.name}.{name}.promotion.lock")
    deadline_s = clock.monotonic_s() + WAIT_S
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if clock.monotonic_s() > deadline_s:
                    raise BusyError(_BUSY.format(name=name, wait=WAIT_S)) from error
                _pause(_POLL_S)
        yield _held


@contextmanager
def _advisory(address: str, name: str) -> Iterator[VerifyHeld]:
    digest = hashlib.sha256(f"fieldloop promotion {name}".encode()).digest()
    number = int.from_bytes(digest[:8], "big", signed=True)
    engine = create_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        connection = engine.connect()
    except SQLAlchemyError as error:
        raise RegistryError(f"{hidden(address)}: no promotion without its lock: {hidden(str(error))}") from error

    def verify_held() -> None:
        # The lock is the connection's: with the connection it is gone.
        try:
            connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            raise BusyError(f"the lock of model {name!r} was lost with its connection; try again") from error

    try:
        connection.execute(text(f"SET lock_timeout = {int(WAIT_S * 1000)}"))
        try:
            connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
        except SQLAlchemyError as error:
            raise BusyError(_BUSY.format(name=name, wait=WAIT_S)) from error
        yield verify_held
    finally:
        connection.close()
        engine.dispose()


@contextmanager
def _claimed(client: MlflowClient, name: str, clock: Clock) -> Iterator[VerifyHeld]:
    claims = f"{name}{CLAIMS_SUFFIX}"
    deadline_s = clock.monotonic_s() + WAIT_S
    while True:
        # The claim was made between the two: each is the careful one of them where it is used.
        asked_s = clock.monotonic_s()
        mine = _claim(client, claims)
        taken_s = clock.monotonic_s()
        try:
            if _wait_for_turn(client, mine, taken_s, deadline_s, clock):
                break
        except BaseException:
            _release(client, mine)
            raise
        _release(client, mine)

    def verify_held() -> None:
        if clock.monotonic_s() - asked_s > CLAIM_S - _WRITE_S:
            raise BusyError(f"the promotion of model {name!r} took longer than {CLAIM_S:.0f} s; try again")

    try:
        yield verify_held
    finally:
        _release(client, mine)


def _claim(client: MlflowClient, claims: str) -> ModelVersion:
    with told("take a claim"):
        try:
            client.create_registered_model(
                claims, tags={"fieldloop.claims": "true"}, description="Who promotes: Fieldloop keeps this. Leave it."
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return client.create_model_version(claims, _NO_SOURCE, tags={"holder": socket.gethostname()})


def _wait_for_turn(client: MlflowClient, mine: ModelVersion, taken_s: float, deadline_s: float, clock: Clock) -> bool:
    """Return whether it is our turn; False: waited so long that our own claim is too old to hold."""
    while True:
        # By the server's clock alone: those of two machines differ.
        now_ms = mine.creation_timestamp + (clock.monotonic_s() - taken_s) * 1000
        before = [claim for claim in _claims(client, mine.name) if int(claim.version) < int(mine.version)]
        living = [claim for claim in before if now_ms - claim.creation_timestamp <= CLAIM_S * 1000]
        age_s = clock.monotonic_s() - taken_s
        if not living:
            for dead in before:
                _release(client, dead)
            return age_s < CLAIM_S / 2
        if clock.monotonic_s() > deadline_s:
            raise BusyError(_BUSY.format(name=mine.name.removesuffix(CLAIMS_SUFFIX), wait=WAIT_S))
        _pause(_POLL_S)


def _claims(client: MlflowClient, claims: str) -> list[ModelVersion]:
    with told("read the claims"):
        return list(client.search_model_versions(f"name='{claims}'", max_results=1000))


def _release(client: MlflowClient, claim: ModelVersion) -> None:
    try:
        client.delete_model_version(claim.name, claim.version)
    except MlflowException as error:
        # Somebody who waited took it for dead, and has released it.
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise RegistryError(
                f"a claim cannot be released: {hidden(str(error.message))}; it ends by itself"
            ) from error


def _held() -> None:
    """A file is locked until it is closed."""


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
