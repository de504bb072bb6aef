"""What runs on the workers: a kit is sent to each worker once, checked and opened, and every task finds it there.

A worker that joins later gets it from the scheduler. One that is not as we are takes none; what it is asked to do fails
with the reason.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from hashlib import sha256
from typing import Any, Final, TypeVar

from distributed import Worker, WorkerPlugin

from exporter.threads import Limit, one_thread
from trainer.cluster.likeness import Likeness, differences, likeness_of
from trainer.errors import ClusterError

R = TypeVar("R")
# As Dask names its own: a worker shows them.
_LOGGER: Final = logging.getLogger("distributed.fieldloop")

# What opens a kit: a function of a module, which a worker imports by its name.
Opener = Callable[[bytes], AbstractContextManager[Any]]


class Kit(WorkerPlugin):
    """What every worker needs for the tasks of one piece of work.

    Attributes:
        name: like no other's.
        data: what is opened; `digest` is its SHA-256.
    """

    def __init__(
        self, name: str, opener: Opener, data: bytes, packages: Sequence[str], modules: Sequence[str] = ()
    ) -> None:
        """Pack a kit.

        Args:
            name: like no other's.
            opener: opens the data on a worker, for as long as the context lasts.
            data: that is sent.
            packages: that must be of one version here and there.
            modules: of the project, which must be the same here and there.
        """
        self.name = name
        self.data = data
        self.digest = sha256(data).hexdigest()
        self._opener = opener
        self._packages, self._modules = tuple(packages), tuple(modules)
        self._likeness: Likeness = likeness_of(packages, modules)

    def setup(self, worker: Worker) -> None:
        """Check and open the kit on a worker; what speaks against it is kept for those who ask."""
        with _GUARD:
            known = _OPEN.get(self.name)
            if known is None:
                _OPEN[self.name] = known = _Opened()
                known.refusal = self._open(known)
            known.n_workers += 1
        # One line a worker: who watches a worker's log sees that the data came once.
        _tell(worker, f"kit {self.name}: {len(self.data)} bytes, sha256 {self.digest}; {known.refusal or 'opened'}")

    def teardown(self, worker: Worker) -> None:
        """Close it."""
        with _GUARD:
            known = _OPEN.get(self.name)
            if known is None:
                return
            known.n_workers -= 1
            if known.n_workers == 0:
                del _OPEN[self.name]
                known.stack.close()
        _tell(worker, f"kit {self.name}: closed")

    def _open(self, known: "_Opened") -> str:
        found = sha256(self.data).hexdigest()
        if found != self.digest:
            return f"what came has the SHA-256 {found}, what was sent {self.digest}"
        try:
            unlike = differences(self._likeness, likeness_of(self._packages, self._modules))
            if unlike:
                return "; ".join(unlike)
            known.content = known.stack.enter_context(self._opener(self.data))
            known.stack.enter_context(_ONE_THREAD)
        except Exception as error:  # noqa: BLE001 - whatever it was: told where the work was begun
            return f"{type(error).__name__}: {error}"
        return ""


class _Opened:
    """A kit on this worker; workers of one process share it."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.content: Any = None
        self.refusal = ""
        self.n_workers = 0


_OPEN: Final[dict[str, _Opened]] = {}
_GUARD: Final = threading.RLock()


def refusal_of(name: str) -> str:
    """Return why this worker took no such kit; empty: it did."""
    known = _OPEN.get(name)
    return "it has no kit of this work" if known is None else known.refusal


def work(name: str, do: Callable[..., R], *arguments: Any) -> R:  # noqa: ANN401 - of each function others
    """Do something with the kit of that name, which is the first argument.

    Raises:
        ClusterError: this worker did not take the kit.
    """
    refusal = refusal_of(name)
    if refusal:
        raise ClusterError(unfit_text(refusal))
    return do(_OPEN[name].content, *arguments)


def unfit_text(refusal: str) -> str:
    """Say what is to be done about a worker that took no kit."""
    return (
        f"a worker is not as this machine is: {refusal}; install the same Fieldloop with the same requirements there, "
        "start that worker again, and go on"
    )


class _OneThread:
    """Holds BLAS at one thread while any kit is open.

    Tasks run in several threads of a worker, and the limit is the process's: one that was taken back by the first to be
    through would let the others add up in another order.
    """

    def __init__(self) -> None:
        self._n_open = 0
        self._limit: Limit | None = None

    def __enter__(self) -> None:
        if self._n_open == 0:
            self._limit = one_thread("blas")
        self._n_open += 1

    def __exit__(self, *_: object) -> None:
        self._n_open -= 1
        if self._n_open == 0 and self._limit is not None:
            self._limit.restore_original_limits()


_ONE_THREAD: Final = _OneThread()


def _tell(worker: Worker, text: str) -> None:
    worker.log_event("fieldloop", text)
    _LOGGER.info("%s", text)
