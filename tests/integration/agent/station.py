"""One agent as a process of its own, with its settings, state and files in one folder."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker.client import Endpoint

STOP_S: Final = 10.0


@dataclass
class Station:
    """A device: its folder, and its agent while it runs.

    Attributes:
        source: lines of the settings' ``[source]`` beside path.
        live: the settings' whole ``[source]``, where that is not a file.
        sink: the settings' whole ``[sink]``.
        telemetry: lines of the settings' ``[telemetry]``.
    """

    folder: Path
    name: str
    endpoint: Endpoint
    url: str
    root: Path
    rows: Path
    source: str = ""
    live: str = ""
    sink: str = 'kind = "json_lines"\npath = "answers.jsonl"'
    telemetry: str = "resend_after_s = 1.0\nbackground_rows = 1"
    repository: str = "retry_min_s = 0.2\nretry_max_s = 1.0"
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.folder / "agent.toml"

    @property
    def log(self) -> Path:
        """What its starts wrote to stderr."""
        return self.folder / "agent.log"

    @property
    def answers(self) -> Path:
        """Its sink."""
        return self.folder / "answers.jsonl"

    def write_settings(self) -> Path:
        """Write the settings file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replay = f'kind = "csv"\npath = "{self.rows}"\n{self.source}'
        self.settings.write_text(
            f"""
device = "{self.name}"
fleet = "test"
state = "state"
[broker]
host = "{self.endpoint.host}"
port = {self.endpoint.port}
[repository]
url = "{self.url}"
root = "{self.root}"
model = "toy"
timeout_s = 5
spare_disk_bytes = 0
{self.repository}
[source]
{self.live or replay}
[sink]
{self.sink}
[telemetry]
{self.telemetry}
""",
            encoding="utf-8",
        )
        return self.settings

    def start(self) -> None:
        """Start the agent."""
        self.write_settings()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "edge_agent", "run", "--settings", str(self.settings)],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )

    @property
    def is_running(self) -> bool:
        """Whether the agent's process is alive."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Take its power: SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_S)

    def stop(self) -> int:
        """Stop it politely; return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def status(self) -> dict[str, Any]:
        """Ask ``fieldloop-agent status --json``."""
        command = [sys.executable, "-P", "-m", "edge_agent", "status", "--json", "--settings", str(self.settings)]
        answered = subprocess.run(command, check=True, capture_output=True, cwd=self.folder)
        report: dict[str, Any] = json.loads(answered.stdout)
        return report

    def status_text(self) -> str:
        """Ask ``fieldloop-agent status``, as people do."""
        command = [sys.executable, "-P", "-m", "edge_agent", "status", "--settings", str(self.settings)]
        return subprocess.run(command, check=True, capture_output=True, cwd=self.folder, text=True).stdout

    def answered_rows(self) -> dict[str, dict[str, Any]]:
        """Return the sink's whole lines by id, the last of each, those of its older files too."""
        older = sorted(self.answers.parent.glob(f"{self.answers.name}.*"), key=lambda file: -int(file.suffix[1:]))
        files = [file for file in (*older, self.answers) if file.exists()]
        lines = b"".join(file.read_bytes() for file in files).splitlines(keepends=True)
        return {answer["id"]: answer for answer in (json.loads(line) for line in lines if line.endswith(b"\n"))}
