"""Starts agents by the thousand: a process that has imported everything is forked for each.

What runs in the fork is ``fieldloop-agent run`` itself, from its settings file to its exit code; saved are the start of
an interpreter and its imports. A campaign starts a share of its agents as processes of their own all the same.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Final, Protocol

PRELOADED: Final = (
    "tests.crash.nursery",
    "edge_agent.cli",
    "edge_agent.wiring",
    "edge_agent.scoring.onnx_runtime",
    "onnxruntime",
    "multiprocessing.popen_forkserver",
)


class Running(Protocol):
    """An agent that was started."""

    def wait(self, timeout_s: float) -> int | None:
        """Return how it ended; None when it did not in time."""
        ...

    def end(self, number: int) -> None:
        """Send it a signal."""
        ...


class Nursery:
    """Forks agents from one process that is ready."""

    def __init__(self) -> None:
        """Say what is to be imported; nothing is started yet."""
        # Read when numpy is imported: a process with threads is not to be forked.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))

    def start(self, settings: Path) -> Running:
        """Start an agent in a fork."""
        process = self._context.Process(target=run_agent, args=(str(settings),), daemon=True)
        process.start()
        return _Forked(process)


class _Forked:
    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    def wait(self, timeout_s: float) -> int | None:
        self._process.join(timeout_s)
        return self._process.exitcode

    def end(self, number: int) -> None:
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)


class WholeProcess:
    """An agent as it is started on a device."""

    def __init__(self, settings: Path) -> None:
        """Start it."""
        with (settings.parent / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "edge_agent", "run", "--settings", str(settings)],
                stdout=log,
                stderr=log,
                cwd=settings.parent,
            )

    def wait(self, timeout_s: float) -> int | None:
        """Return how it ended; None when it did not in time."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def end(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)


def run_agent(settings: str) -> None:
    """Be the agent: in the fork."""
    from edge_agent.cli import main

    folder = Path(settings).parent
    os.chdir(folder)
    log = os.open(folder / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    arguments: Sequence[str] = ("run", "--settings", settings)
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


KILL: Final = signal.SIGKILL
STOP: Final = signal.SIGTERM
