"""A real Dask cluster for tests: a scheduler and workers, each a process of its own, on free ports of loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import ports
from tests.conftest import REPOSITORY
from tests.waiting import wait_until

# A machine that does nothing else starts one in two seconds.
_START_S = 120.0


class DaskCluster:
    """A scheduler and its workers.

    Attributes:
        address: of the scheduler.
        workers: processes, those that were killed too.
    """

    def __init__(self, folder: Path, security: Sequence[str] = ()) -> None:
        self._folder, self._security = folder, tuple(security)
        folder.mkdir(parents=True, exist_ok=True)
        self.port = ports.free_port()
        self.address = f"{'tls' if security else 'tcp'}://{ports.HOST}:{self.port}"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()

    def start_scheduler(self) -> "subprocess.Popen[bytes]":
        """Start the scheduler, for the first time or again."""
        arguments = ["--host", ports.HOST, "--port", str(self.port), "--no-dashboard", *self._security]
        self.scheduler = self._started("scheduler", "distributed.cli.dask_scheduler", arguments, REPOSITORY)
        wait_until(lambda: "Scheduler at:" in self.log("scheduler"), _START_S, "the scheduler listens")
        return self.scheduler

    def start_worker(self, *, code: Path = REPOSITORY, n_threads: int = 1) -> "subprocess.Popen[bytes]":
        """Start one more worker.

        Args:
            code: folder that it imports Fieldloop from.
            n_threads: of it.
        """
        name = f"worker-{len(self.workers)}"
        arguments = [self.address, "--no-nanny", "--host", ports.HOST, "--no-dashboard", "--nthreads", str(n_threads)]
        arguments += ["--name", name, "--local-directory", str(self._folder / name), *self._security]
        self.workers.append(self._started(name, "distributed.cli.dask_worker", arguments, code))
        wait_until(lambda: "Registered to:" in self.log(name), _START_S, f"{name} is registered")
        return self.workers[-1]

    def kill_worker(self, number: int) -> None:
        """Kill a worker, whatever it is at."""
        self.workers[number].kill()
        self.workers[number].wait()

    def log(self, name: str) -> str:
        """What ``scheduler``, ``worker-0`` … said."""
        path = self._folder / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def close(self) -> None:
        """End all of them."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def _started(self, name: str, module: str, arguments: Sequence[str], code: Path) -> "subprocess.Popen[bytes]":
        environment = os.environ | {"PYTHONPATH": str(code), "DASK_LOGGING__DISTRIBUTED": "info"}
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self._folder,
            )
        self._processes.append(process)
        return process


@contextmanager
def dask_cluster(folder: Path, *, n_workers: int, security: Sequence[str] = ()) -> Iterator[DaskCluster]:
    """Run a cluster until the block ends."""
    cluster = DaskCluster(folder, security)
    try:
        for _ in range(n_workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.close()
