"""Runs MLflow's own page on a project's store, on loopback, in a process that ends with this one."""

import os
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from broker.servers.orphan_guard import guarded
from edge_agent.clock import Clock
from trainer.errors import RegistryError

_HOST: Final = "127.0.0.1"
_START_S: Final = 120.0
_POLL_S: Final = 0.25
_STOP_S: Final = 20.0
_TAIL_CHARACTERS: Final = 2000
# Without the first, and with more than one worker, the server takes four times the memory. The others keep it quiet:
# it would tell its makers that it is in use.
_STORE: Final = "MLFLOW_BACKEND_STORE_URI"
_SETTINGS: Final = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


class RegistryPage:
    """The server's process; make it with `start_page`.

    Attributes:
        url: of the page.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.url = url
        self._process = process
        self._log = log

    def wait(self) -> None:
        """Wait until it ends by itself, which it should not.

        Raises:
            RegistryError: it ended; with its last words.
        """
        code = self._process.wait()
        raise RegistryError(f"MLflow's page ended with code {code}: {_tail(self._log)}")

    def wait_until_ready(self, clock: Clock) -> None:
        """Wait until it answers.

        Raises:
            RegistryError: it ended, or did not answer in time.
        """
        deadline_s = clock.monotonic_s() + _START_S
        while not self._answers():
            try:
                self._process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                if clock.monotonic_s() < deadline_s:
                    continue
                raise RegistryError(f"MLflow's page did not answer in {_START_S:.0f} s: {_tail(self._log)}") from None
            self.wait()

    def stop(self) -> None:
        """End it; it ends its own workers."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=_POLL_S) as answer:  # noqa: S310 - our own http
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's word for good
        except (urllib.error.URLError, OSError):
            return False


def start_page(
    python: Path, store_uri: str, artefacts: Path, log: Path, port: int = 0, *, serves_artefacts: bool = False
) -> RegistryPage:
    """Start the page; `RegistryPage.wait_until_ready` tells when it answers.

    Args:
        python: of an environment with all of MLflow in it.
        store_uri: of the store that it shows.
        artefacts: folder for what somebody may log through the page.
        log: file for its words.
        port: on loopback; 0 takes a free one.
        serves_artefacts: whether clients send and fetch files through it, and need not reach the folder themselves.
    """
    port = port or _free_port()
    server = (str(python), "-m", "mlflow", "server")
    through = ("--serve-artifacts", "--artifacts-destination")
    beside = ("--no-serve-artifacts", "--default-artifact-root")
    files = (*(through if serves_artefacts else beside), artefacts.as_uri())
    place = ("--host", _HOST, "--port", str(port), "--workers", "1")
    with log.open("wb") as words:
        process = subprocess.Popen(
            guarded((*server, *files, *place)),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            # The address may hold a password, and a command line can be read by everyone on the machine.
            env=os.environ | _SETTINGS | {_STORE: store_uri},
            # Ctrl-C reaches this program alone, which then ends the server in order.
            start_new_session=True,
        )
    return RegistryPage(process, f"http://{_HOST}:{port}", log)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _tail(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARACTERS:].strip() or f"{path} is empty"
