"""Runs the production pipeline in a child process: a run that fails, leaks or is killed leaves the monitor alone.

Each run has a folder of its own under ``<state>/runs``: the command's output and a lock that its process holds as long
as it lives. From it a monitor that was started anew finds a run that goes on, one that ended, and one that broke off.
An attempt that broke off counts against the run, unless another run was in its way or the monitor itself ended it.
"""

import fcntl
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from edge_agent.clock import Clock, SystemClock
from edge_agent.durable import replace_file
from trainer.errors import BusyError, GateRefusedError

logger = logging.getLogger(__name__)

# A run that broke off this often breaks for a reason that trying again does not cure.
_MAX_ATTEMPTS = 3
# Another run takes minutes or hours, and each attempt to get past it starts a process.
_BUSY_S = 60.0
_TAIL_CHARACTERS = 2000
_STOP_S = 10.0
_EXIT_CODE_NAME = "exit_code"
_CLOSED_NAME = "closed"


class RunRequest(Struct, frozen=True):
    """A production run that is wanted; the same token is the same run, however often it is asked for."""

    token: str
    trigger: str
    reason: str


class RunOutcome(Struct, frozen=True):
    """How a run ended.

    Attributes:
        kind: ``promoted``, ``waits`` (it passed the gate, and a person must approve it), ``refused`` (by the gate) or
            ``broke_off``.
        reason: for people.
        bundle: folder of the new bundle; empty when none was promoted.
        facts: all that the run told, a JSON value.
    """

    kind: str
    reason: str
    run_id: str = ""
    version: int | None = None
    bundle: str = ""
    facts: Any = None


class FoundRun(Struct, frozen=True):
    """A run that the pipeline's own records tell of.

    Attributes:
        outcome: how it ended; None while it goes on, or when it broke off.
    """

    run_id: str
    outcome: RunOutcome | None


class ProductionRunner(Protocol):
    """Carries out production runs."""

    def ensure(self, request: RunRequest) -> RunOutcome | None:
        """Start the run if it is new, resume it if it broke off; return its outcome, or None while it goes on."""
        ...

    def close(self) -> None:
        """End what runs; the next `ensure` of the same request resumes it."""
        ...


class SubprocessRunner:
    """Runs ``python -m trainer.cli pipeline run``."""

    def __init__(
        self,
        project: Path,
        folder: Path,
        command: Sequence[str] | None = None,
        find_run: Callable[[str], FoundRun | None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Give the runner its places.

        Args:
            project: the project file or its folder.
            folder: for the runs' folders.
            command: how the command line tool is started; None: this Python's.
            find_run: finds the run whose reason names a token: what a run that was killed could not say.
            clock: tells the time.
        """
        self._find_run = find_run
        self._clock = clock or SystemClock()
        self._started_s: dict[str, float] = {}
        self._project = project
        self._folder = folder
        self._command = tuple(command) if command is not None else (sys.executable, "-m", "trainer.cli")
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def ensure(self, request: RunRequest) -> RunOutcome | None:
        """Start the run if it is new, resume it if it broke off; return its outcome, or None while it goes on."""
        folder = self._folder / request.token
        attempts = _attempts_in(folder)
        if not attempts:
            self._start(request, folder / "attempt-1", self._run_arguments(request))
            return None
        last = attempts[-1]
        if self._is_running(request.token, last):
            return None
        outcome = _outcome_of(last)
        return outcome if outcome.kind != "broke_off" else self._after_break(request, attempts, outcome)

    def close(self) -> None:
        """End what runs; the next `ensure` of the same request resumes it."""
        for token, child in self._children.items():
            attempt = _attempts_in(self._folder / token)[-1]
            if not (attempt / _EXIT_CODE_NAME).exists():
                # Also of a child that has just ended: what ends the monitor (Ctrl-C, its service) often ends all of its
                # processes. Before the signal: a monitor that is killed here must not count it either.
                replace_file(attempt / _CLOSED_NAME, b"")
            if child.poll() is None:
                child.terminate()
        for child in self._children.values():
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _after_break(self, request: RunRequest, attempts: Sequence[Path], outcome: RunOutcome) -> RunOutcome | None:
        """Find out whether the run has ended for all that, give it up, or try again: now or later."""
        found = None if self._find_run is None else self._find_run(request.token)
        if found is not None and found.outcome is not None:
            return found.outcome
        if sum(map(_counts, attempts)) >= _MAX_ATTEMPTS:
            return outcome
        waited_s = self._clock.monotonic_s() - self._started_s.get(request.token, -math.inf)
        if _is_busy(attempts[-1]) and waited_s < _BUSY_S:
            return None
        self._try_again(request, attempts, outcome, found)
        return None

    def _try_again(
        self, request: RunRequest, attempts: Sequence[Path], outcome: RunOutcome, found: FoundRun | None
    ) -> None:
        run_id = next((told for attempt in reversed(attempts) if (told := _run_id_of(attempt))), "")
        if not run_id and found is not None:
            run_id = found.run_id
        level = logging.WARNING if _counts(attempts[-1]) else logging.INFO
        logger.log(level, "run %s broke off (%s); attempt %d", request.token, outcome.reason, len(attempts) + 1)
        arguments = (
            ("pipeline", "resume", run_id, "--project", str(self._project), "--json")
            if run_id
            else self._run_arguments(request)
        )
        self._start(request, attempts[-1].with_name(f"attempt-{_number_of(attempts[-1]) + 1}"), arguments)

    def _run_arguments(self, request: RunRequest) -> tuple[str, ...]:
        wanted = ("--trigger", request.trigger, "--reason", f"{request.reason} ({request.token})")
        return ("pipeline", "run", "--project", str(self._project), *wanted, "--json")

    def _start(self, request: RunRequest, attempt: Path, arguments: Sequence[str]) -> None:
        attempt.mkdir(parents=True)
        self._started_s[request.token] = self._clock.monotonic_s()
        with (
            (attempt / "out").open("wb") as out,
            (attempt / "err").open("wb") as err,
            (attempt / "lock").open("wb") as lock,
        ):
            # Taken before the process exists and inherited by it: at no moment does a run look as if it were none.
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._children[request.token] = subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=(lock.fileno(),),
            )

    def _is_running(self, token: str, attempt: Path) -> bool:
        child = self._children.get(token)
        if child is not None:
            code = child.poll()
            if code is None:
                return True
            replace_file(attempt / _EXIT_CODE_NAME, f"{code}\n".encode())
            return False
        return _is_locked(attempt / "lock")


def _is_locked(path: Path) -> bool:
    """Tell whether a process holds the lock."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False  # killed between making the folder and starting the process
    return False


def _attempts_in(folder: Path) -> list[Path]:
    """Return the folders of the attempts at one run, the earliest first."""
    return sorted(folder.glob("attempt-*"), key=_number_of)


def _number_of(attempt: Path) -> int:
    return int(attempt.name.removeprefix("attempt-"))


def _counts(attempt: Path) -> bool:
    """Tell whether an attempt that broke off says something about the run."""
    return not _is_busy(attempt) and not (attempt / _CLOSED_NAME).exists()


def _is_busy(attempt: Path) -> bool:
    return _exit_code_of(attempt) == BusyError.exit_code


def _outcome_of(attempt: Path) -> RunOutcome:
    """Read how an attempt ended from the last JSON value it printed, and from its exit code where that is known."""
    facts = _facts_of(attempt)
    code = _exit_code_of(attempt)
    run_id = _run_id_of(attempt)
    if facts is None or "promoted" not in facts or code not in (0, GateRefusedError.exit_code, None):
        return RunOutcome("broke_off", f"exit code {code}: {_tail(attempt / 'err')}", run_id, facts=facts)
    version = facts.get("version")
    number = version if isinstance(version, int) else None
    if facts["promoted"]:
        bundle = facts.get("bundle")
        if not bundle:
            return RunOutcome("broke_off", "the run promoted a model and named no bundle", run_id, number, facts=facts)
        return RunOutcome("promoted", _reason_of(facts), run_id, number, str(bundle), facts)
    kind = "waits" if facts.get("waits") else "refused"
    return RunOutcome(kind, _reason_of(facts), run_id, number, "", facts)


def _facts_of(attempt: Path) -> dict[str, Any] | None:
    """Return the last JSON object of the output: the whole output, or its last line that is one."""
    try:
        text = (attempt / "out").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    for candidate in (text, *reversed(text.splitlines())):
        try:
            value = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    return None


def _run_id_of(attempt: Path) -> str:
    facts = _facts_of(attempt)
    return str(facts.get("run_id") or "") if facts else ""


def _reason_of(facts: dict[str, Any]) -> str:
    return str(facts.get("reason") or json.dumps(facts.get("decision"), sort_keys=True)[:1000])


def _exit_code_of(attempt: Path) -> int | None:
    try:
        return int((attempt / _EXIT_CODE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _tail(path: Path) -> str:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _TAIL_CHARACTERS))
            return file.read().decode(errors="replace").strip()
    except OSError as error:
        return f"no output ({os.strerror(error.errno or 0)})"
