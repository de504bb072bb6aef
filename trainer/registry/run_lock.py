"""Lets one production run of a model go on at a time, on any of the machines that share a metadata store.

Unlike a promotion (`trainer.registry.lock`) a run takes hours, nobody waits for it, and it must not hold longer than
its machine lives. Beside an SQLite file a file is locked, which ends with its process. PostgreSQL holds a lock as long
as a connection: one that breaks while the run goes on is made again at once, and a machine that is gone is noticed
within a minute. Through an MLflow server a claim is made and renewed; one that is not renewed for a minute is dead.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from mlflow import MlflowClient
from sqlalchemy.engine import make_url

from edge_agent.clock import Clock
from trainer.errors import BusyError, RegistryError
from trainer.registry.holder import holder_text
from trainer.registry.run_claim import RunClaim
from trainer.registry.run_connection import RunConnection
from trainer.registry.tracking import is_server

logger = logging.getLogger(__name__)

# How often a held lock is looked after.
LOOK_S: Final = 5.0
# A server that is started again is back by then.
_TRIES: Final = 30
_TRY_S: Final = 2.0


class Hold(Protocol):
    """A lock that this process took."""

    def take(self) -> str:
        """Take it if it is free; return who has it, empty: we have.

        Raises:
            RegistryError: the store cannot be asked.
        """
        ...

    def is_held(self) -> bool:
        """Tell whether it is still ours, and renew it where that is needed; never raises."""
        ...

    def release(self) -> None:
        """Give it back; never raises."""
        ...


class Alone:
    """What a run holds.

    Attributes:
        was_lost: whether it was lost and taken again: another run may have begun and ended meanwhile.
    """

    def __init__(self, hold: Hold, name: str) -> None:
        self._hold, self._name = hold, name
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="run-lock", daemon=True)
        self.was_lost = False

    def verify(self) -> None:
        """Return when this run is alone, waiting for a store that is away for a moment.

        Raises:
            BusyError: another run of this model goes on by now.
            RegistryError: the store cannot be asked for a minute.
        """
        for _ in range(_TRIES):
            with self._guard:
                try:
                    other = self._renew()
                except RegistryError:
                    other = None
            if other == "":
                return
            if other:
                raise BusyError(
                    f"the lock of this run was lost, and another production run of {self._name!r} goes on by now "
                    f"({other}); wait for it, and resume this one"
                )
            self._ended.wait(_TRY_S)
        with self._guard:
            self._renew()

    @contextmanager
    def looked_after(self) -> Iterator["Alone"]:
        """Hold the lock until the block ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join()
            with self._guard:
                self._hold.release()

    def _look_after(self) -> None:
        while not self._ended.wait(LOOK_S):
            # Who has it, or that nobody can say, is told before the next step.
            with self._guard, suppress(RegistryError):
                self._renew()

    def _renew(self) -> str:
        """Return who has the lock; empty: we have."""
        if self._hold.is_held():
            return ""
        if not self.was_lost:
            logger.warning("the lock of the production run of %r was lost; taking it again", self._name)
        self.was_lost = True
        return self._hold.take()


def run_lock(address: str, client: MlflowClient, name: str, clock: Clock) -> AbstractContextManager[Alone]:
    """Take the lock of a model's production runs, for as long as the context lasts.

    Args:
        address: of the metadata store.
        client: of the same store.
        name: of the model.
        clock: tells how long ago a claim was renewed.

    Raises:
        BusyError: another run has it.
        RegistryError: the store cannot be asked.
    """
    hold = _hold_of(address, client, name, clock)
    other = hold.take()
    if other:
        raise BusyError(
            f"another production run of {name!r} goes on with this metadata store ({other}); wait for it, or end it"
        )
    return Alone(hold, name).looked_after()


def _hold_of(address: str, client: MlflowClient, name: str, clock: Clock) -> Hold:
    if is_server(address):
        return RunClaim(client, name, clock)
    if urlsplit(address).scheme.startswith("postgresql"):
        return RunConnection(address, name)
    return _FileHold(Path(make_url(address).database or "mlflow.db"), name)


class _FileHold:
    """A file beside an SQLite file: its lock ends with this process."""

    def __init__(self, store: Path, name: str) -> None:
        self._path = store.with_name(f"{store.name}.{name}.run.lock")
        self._descriptor = -1

    def take(self) -> str:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            return holder or "a process of this machine"
        os.ftruncate(descriptor, 0)
        os.write(descriptor, holder_text().encode())
        self._descriptor = descriptor
        return ""

    def is_held(self) -> bool:
        return True

    def release(self) -> None:
        os.close(self._descriptor)
