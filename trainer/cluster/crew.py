"""The workers of a Dask cluster that took a kit, and the tasks that they are given.

Who gives the tasks decides: a worker that dies has its tasks done by another one, and answers nothing itself. What a
cluster does with its failures is told in one kind of error, with what to do.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any, Final, Generic, TypeVar

import dask
from distributed import Client, KilledWorker
from distributed.client import ClosedClientError
from distributed.security import Security

from edge_agent.clock import Clock
from trainer.cluster.kit import Kit, Opener, refusal_of, unfit_text, work
from trainer.cluster.likeness import version_differences
from trainer.errors import ClusterError
from trainer.project.cluster import ClusterSection

# Its client has half of its types: it is Any.
# ruff: noqa: ANN401

R = TypeVar("R")

CONNECT_S: Final = 15.0
# Workers that are started beside us need so long; and so long the last one may be away.
WORKERS_S: Final = 60.0
_LOOK_S: Final = 5.0
_STARTS: Final = 3
# Both ends must read what the other one writes.
_PROTOCOL: Final = ("dask", "distributed", "cloudpickle", "msgpack")
_PREFIX: Final = "fieldloop "
# Dask types half of its classes.
_open_client: Any = Client
_open_security: Any = Security
# Parts of a file travel in their tasks; Dask would warn of each.
_QUIET: Final = {"distributed.admin.large-graph-warning-threshold": "4 GiB"}


class Task(Generic[R]):
    """Something that a worker was given to do."""

    def __init__(self, future: Any, crew: "Crew") -> None:
        self._future, self._crew = future, crew

    def result(self) -> R:
        """Wait for what came of it.

        Raises:
            ClusterError: the cluster is lost, has no worker left, or its workers die of this task.
            Exception: what the task itself raised.
        """
        with _told(self._crew.address):
            while not self._is_over():
                self._crew.verify_alive()
            result: R = self._future.result()
        self._future.release()
        return result

    def drop(self) -> None:
        """Have it done no more."""
        with suppress(Exception):
            self._future.cancel()

    def _is_over(self) -> bool:
        # Not by `result`: the task may itself have raised a TimeoutError.
        try:
            self._future.exception(timeout=_LOOK_S)
        except TimeoutError:
            return False
        return True


class Crew:
    """The workers of one cluster, with one kit.

    Attributes:
        address: of the scheduler.
    """

    def __init__(self, client: Any, kit: str, address: str, clock: Clock) -> None:
        self._client, self._kit, self._clock = client, kit, clock
        self.address = address
        self._seen_s = clock.monotonic_s()

    @property
    def n_threads(self) -> int:
        """How many tasks are done at a time now."""
        with _told(self.address):
            return sum(self._client.nthreads().values())

    @property
    def n_workers(self) -> int:
        """How many workers there are now."""
        with _told(self.address):
            return len(self._client.nthreads())

    def give(self, label: str, do: Callable[..., R], *arguments: Any) -> Task[R]:
        """Give a task: ``do(kit, *arguments)`` on some worker.

        Args:
            label: unlike that of any other task of this crew.
            do: of a module; workers import it by its name.
            arguments: sent along: what every task needs belongs into the kit.
        """
        with _told(self.address), dask.config.set(_QUIET):
            key = f"{self._kit} {label}"
            return Task(self._client.submit(work, self._kit, do, *arguments, key=key, pure=False), self)

    def verify_alive(self) -> None:
        """Raise ClusterError when the scheduler is gone, or no worker has been there for a minute."""
        if self._client.status in {"closed", "closing"}:
            raise ClusterError(_gone(self.address))
        now_s = self._clock.monotonic_s()
        if self.n_workers:
            self._seen_s = now_s
        elif now_s - self._seen_s > WORKERS_S:
            raise ClusterError(_nobody(self.address))


@contextmanager
def opened_crew(
    cluster: ClusterSection,
    opener: Opener,
    data: bytes,
    *,
    clock: Clock,
    packages: Sequence[str],
    modules: Sequence[str] = (),
) -> Iterator[Crew]:
    """Send a kit to the workers of a cluster, and have it taken away at the end.

    Args:
        cluster: with an address.
        opener: opens the data on a worker.
        data: what every task needs; sent to each worker once.
        clock: for how long is waited.
        packages: that must be of one version here and there.
        modules: of the project, which must be the same here and there.

    Raises:
        ClusterError: no scheduler answers, it has no worker, or one that is not as this machine is.
    """
    address = cluster.dask or ""
    with _connected(cluster, address) as client:
        _verify_versions(client, address)
        name = f"{_PREFIX}{client.id}"
        _clear_away(client)
        kit = Kit(name, opener, data, packages, modules)
        try:
            _hand_out(client, kit, address)
            yield Crew(client, name, address, clock)
        finally:
            with suppress(Exception):
                client.unregister_worker_plugin(name)


@contextmanager
def _connected(cluster: ClusterSection, address: str) -> Iterator[Any]:
    try:
        with warnings.catch_warnings():
            # Other versions are told as an error, with what to do.
            warnings.simplefilter("ignore")
            client = _open_patiently(
                address, timeout=CONNECT_S, security=_security_of(cluster), set_as_default=False, name="fieldloop"
            )
    except (OSError, ImportError, ValueError, TypeError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address}: {_short(error)}; start one (dask scheduler), check the address "
            "and its certificates (tcp:// or tls://), or leave --dask and 'cluster.dask' away"
        ) from error
    try:
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError as error:
            raise ClusterError(_nobody(address)) from error
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=CONNECT_S)


def _open_patiently(address: str, **options: Any) -> Any:
    for _ in range(_STARTS):
        # Dask gives its own thread ten seconds to start, which a machine that stands still does not keep.
        with suppress(AssertionError):
            return _open_client(address, **options)
    raise TimeoutError("this machine is too busy to start a thread")


def _security_of(cluster: ClusterSection) -> Security | None:
    """Return what the section says; None: what Dask's own configuration says."""
    if cluster.ca is None and cluster.certificate is None:
        return None
    security: Security = _open_security(
        require_encryption=True,
        tls_ca_file=cluster.ca,
        tls_client_cert=cluster.certificate,
        tls_client_key=cluster.key or cluster.certificate,
    )
    return security


def _verify_versions(client: Any, address: str) -> None:
    with _told(address):
        found = client.get_versions()
    here = _protocol_of(found["client"])
    machines = {f"scheduler {address}": found["scheduler"]}
    machines |= {f"worker {worker}": told for worker, told in found["workers"].items()}
    for machine, told in machines.items():
        other = version_differences(here, _protocol_of(told))
        if other:
            raise ClusterError(
                f"{machine} has {'; '.join(other)}; install the same requirements there, and start it again"
            )


def _protocol_of(told: Mapping[str, Any]) -> dict[str, str]:
    packages = {name: str(told["packages"].get(name)) for name in _PROTOCOL}
    return {"python": ".".join(str(told["host"]["python"]).split(".")[:2]), **packages}


def _hand_out(client: Any, kit: Kit, address: str) -> None:
    try:
        client.register_plugin(kit)
        refusals = client.run(refusal_of, kit.name)
    except OSError as error:
        raise ClusterError(_gone(address)) from error
    except Exception as error:
        # What a worker could not even read comes as an error of no class of its own.
        raise ClusterError(
            f"a worker of {address} does not know this Fieldloop: {_short(error)}; install it there with the same "
            "requirements, and start the worker again"
        ) from error
    for worker, refusal in refusals.items():
        if refusal:
            raise ClusterError(f"{worker}: {unfit_text(refusal)}")


def _clear_away(client: Any) -> None:
    """Have taken away what runs left that were killed."""
    # A function without a name in a module: it is sent whole, so that a scheduler needs no Fieldloop.
    clients, kits = client.run_on_scheduler(
        lambda dask_scheduler: (list(dask_scheduler.clients), list(dask_scheduler.worker_plugins))
    )
    for kit in kits:
        if kit.startswith(_PREFIX) and kit.removeprefix(_PREFIX) not in clients:
            with suppress(Exception):
                client.unregister_worker_plugin(kit)


@contextmanager
def _told(address: str) -> Iterator[None]:
    try:
        yield
    except KilledWorker as error:
        raise ClusterError(
            f"{error.allowed_failures + 1} workers of {address} died of the same task; do they have the memory for it? "
            "Their logs say more. What is done is kept: the same command goes on"
        ) from error
    except (CancelledError, ClosedClientError) as error:
        raise ClusterError(_gone(address)) from error
    except OSError as error:
        raise ClusterError(f"{_gone(address)} ({_short(error)})") from error


def _gone(address: str) -> str:
    return (
        f"the Dask scheduler at {address} is gone; start it and its workers again. What is done is kept: the same "
        "command goes on"
    )


def _nobody(address: str) -> str:
    return (
        f"the Dask scheduler at {address} has had no worker for {WORKERS_S:.0f} s; start some (dask worker {address}). "
        "What is done is kept: the same command goes on"
    )


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
