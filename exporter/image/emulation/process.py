"""QEMU as a process in the background: started, asked to stop, ended by its own id and by no other means.

A process id is given to somebody else once its owner is gone: it only counts together with the time of its start.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from edge_agent.clock import Clock
from exporter.image.emulation.command_line import MONITOR_SOCKET, PID_FILE, PROGRAM, Start, qemu_arguments
from exporter.image.emulation.errors import EmulationError
from exporter.image.programs import find_program

POWER_DOWN_S: Final = 20.0
_TERM_S: Final = 10.0
_POLL_S: Final = 0.1
_START_S: Final = 60.0
_ANSWER_S: Final = 5.0
# Of /proc/PID/stat after the name, which may hold anything: state, threads, start in ticks since this machine started.
_STATE: Final = 0
_THREADS: Final = 17
_STARTED: Final = 19


class Process(Struct, frozen=True):
    """A process.

    Attributes:
        started: ticks of this machine.
    """

    pid: int
    started: int

    @property
    def is_running(self) -> bool:
        """Whether it is still the one that was started."""
        return _started(self.pid) == self.started


def start_in_background(start: Start, folder: Path) -> Process:
    """Start QEMU; it goes on when this program ends.

    Args:
        start: with a console on a socket, and absolute paths.
        folder: of the board: sockets, log of the console and process id lie in it.

    Raises:
        EmulationError: QEMU is missing, or refused; the message says what it said.
    """
    command = [find_program(PROGRAM, EmulationError), *qemu_arguments(start)]
    log = folder / "qemu.log"
    with log.open("wb") as output:
        try:
            # Relative names of sockets: an absolute one may be longer than the kernel takes.
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                timeout=_START_S,
            )
        except subprocess.TimeoutExpired as error:
            raise EmulationError(f"{folder.name}: QEMU did not start within {_START_S:g} s") from error
    if done.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
        raise EmulationError(f"{folder.name} did not start: {said[-1]}")
    pid = int((folder / PID_FILE).read_text(encoding="ascii"))
    started = _started(pid)
    if started is None:
        raise EmulationError(f"{folder.name} ended at once: see {log}")
    return Process(pid, started)


def end(process: Process, folder: Path, clock: Clock, *, has_power_button: bool, power_down_s: float) -> bool:
    """Stop a board; return whether it stopped by itself.

    Args:
        process: of the board.
        folder: of the board.
        clock: for the deadlines.
        has_power_button: ask the guest first.
        power_down_s: how long the guest may take; then its power is cut.
    """
    if not process.is_running:
        return True
    if has_power_button and power_down_s > 0:
        with contextlib.suppress(OSError, ValueError):
            ask_monitor(folder, "system_powerdown")
            if _is_gone(process, clock, power_down_s):
                return True
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        if _is_gone(process, clock, _TERM_S):
            break
    return False


def cut_power(process: Process, clock: Clock) -> None:
    """End QEMU between two instructions: whatever the guest had not given to its disk is lost."""
    if process.is_running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        _is_gone(process, clock, _TERM_S)


def ask_monitor(folder: Path, command: str) -> None:
    """Give a board's machine an order (QEMU Machine Protocol).

    Raises:
        OSError: nobody listens.
        ValueError: what came is no answer.
    """
    with connected(folder, MONITOR_SOCKET) as link, link.makefile("rwb") as file:
        file.readline()
        for each in ("qmp_capabilities", command):
            file.write(json.dumps({"execute": each}).encode() + b"\n")
            file.flush()
            # Events may come before the answer.
            while "return" not in (answer := json.loads(file.readline())):
                if "error" in answer:
                    raise ValueError(f"{each}: {answer['error']['desc']}")


@contextlib.contextmanager
def connected(folder: Path, name: str) -> Iterator[socket.socket]:
    """Connect with a socket in a folder, however long the folder's name is.

    Raises:
        OSError: nobody listens.
    """
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_ANSWER_S)
            link.connect(f"/proc/self/fd/{handle}/{name}")
            yield link
    finally:
        os.close(handle)


def _is_gone(process: Process, clock: Clock, within_s: float) -> bool:
    deadline_s = clock.monotonic_s() + within_s
    pause = threading.Event()
    while process.is_running:
        if clock.monotonic_s() >= deadline_s:
            return False
        pause.wait(_POLL_S)
    return True


def _started(pid: int) -> int | None:
    """Return when a process started; None if there is none, or one that only waits to be buried."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = told.rpartition(")")[2].split()
    # The first thread may be dead while others still write to the card's file.
    is_dead = fields[_STATE] in "ZX" and int(fields[_THREADS]) <= 1
    return None if is_dead else int(fields[_STARTED])
