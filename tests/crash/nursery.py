"""Starts agents by the thousand: a process that has imported everything is forked for each.

What runs in the fork is ``fieldloop-agent run`` itself, from its settings file to its exit code; saved are the start of
an interpreter and its imports. A campaign starts a share of its agents as processes of their own all the same.

``python -m tests.crash.nursery`` is that process: it reads a JSON line for each agent (its settings file, its
environment), and writes ``started PID`` at once and ``ended PID CODE`` later.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from tests.crash.shim import Shim, begin_watching

REPOSITORY: Final = Path(__file__).resolve().parents[2]
STARTED_S: Final = 30.0
_LOOK_S: Final = 0.01


class Running(Protocol):
    """An agent that was started."""

    def wait(self, timeout_s: float) -> int | None:
        """Return how it ended; None when it did not in time."""
        ...

    def send(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        ...


class Nursery:
    """Forks agents; safe to use from several threads, closed at the end of its context."""

    def __init__(self, shim: Shim | None = None) -> None:
        """Start the process that is forked, under the shim where agents shall be."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            # A process with threads is not to be forked.
            env=os.environ
            | ({} if shim is None else shim.preloading)
            | {"PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1"},
            bufsize=0,
        )
        self._asking = threading.Lock()
        self._changed = threading.Condition()
        self._started: list[int] = []
        self.codes: dict[int, int] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(STARTED_S)
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def start(self, settings: Path, environment: Mapping[str, str] | None = None) -> "Forked":
        """Fork an agent; what is added to its environment may be the shim's."""
        order = json.dumps({"settings": str(settings), "environment": dict(environment or {})})
        with self._asking:
            if self._process.stdin is not None:
                self._process.stdin.write(f"{order}\n".encode())
            with self._changed:
                if not self._changed.wait_for(lambda: self._started, STARTED_S):
                    raise AssertionError("no agent could be forked")
                return Forked(self, self._started.pop())

    def wait(self, pid: int, timeout_s: float) -> int | None:
        """Wait for the end of an agent."""
        with self._changed:
            self._changed.wait_for(lambda: pid in self.codes, timeout_s)
            return self.codes.get(pid)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            what, *numbers = line.split()
            with self._changed:
                if what == b"started":
                    # The number of one that ended may come again.
                    self.codes.pop(int(numbers[0]), None)
                    self._started.append(int(numbers[0]))
                else:
                    self.codes[int(numbers[0])] = int(numbers[1])
                self._changed.notify_all()


class Forked:
    """An agent in a fork."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        """Name it."""
        self._nursery = nursery
        self._pid = pid

    def wait(self, timeout_s: float) -> int | None:
        """Return how it ended; None when it did not in time."""
        return self._nursery.wait(self._pid, timeout_s)

    def send(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.wait(0.0) is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)


class WholeProcess:
    """An agent as it is started on a device."""

    def __init__(self, settings: Path, environment: dict[str, str] | None = None) -> None:
        """Start it."""
        with (settings.parent / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "edge_agent", "run", "--settings", str(settings)],
                stdout=log,
                stderr=log,
                cwd=settings.parent,
                env=(environment or dict(os.environ)) | {"OPENBLAS_NUM_THREADS": "1"},
            )

    def wait(self, timeout_s: float) -> int | None:
        """Return how it ended; None when it did not in time."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        self._process.send_signal(number)


def _serve() -> None:
    """Be the process that is forked."""
    import onnxruntime  # noqa: F401

    import edge_agent.scoring.onnx_runtime
    import edge_agent.wiring  # noqa: F401 - imported here, so that no fork has to

    alive: set[int] = set()
    while True:
        if select.select([0], [], [], _LOOK_S if alive else None)[0]:
            # One byte after the other: what is read ahead would be lost to the next look.
            line = bytearray()
            while not line.endswith(b"\n"):
                byte = os.read(0, 1)
                if not byte:
                    for pid in alive:
                        os.kill(pid, signal.SIGKILL)
                    return
                line += byte
            pid = os.fork()
            if pid == 0:
                _be_agent(**json.loads(line))
            alive.add(pid)
            os.write(1, f"started {pid}\n".encode())
        while alive and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            alive.discard(ended[0])
            os.write(1, f"ended {ended[0]} {os.waitstatus_to_exitcode(ended[1])}\n".encode())


def _be_agent(settings: str, environment: dict[str, str]) -> None:
    from edge_agent.cli import main

    code = 255
    try:
        folder = Path(settings).parent
        os.chdir(folder)
        log = os.open(folder / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if environment:
            os.environ.update(environment)
            begin_watching()
        code = main(["run", "--settings", settings])
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
