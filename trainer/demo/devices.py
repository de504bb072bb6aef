"""Devices as processes of this machine: each an agent with its own settings, state folder, log and predictions."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker.client import Endpoint
from broker.servers.orphan_guard import guarded
from broker.topics import DeviceId, parse_device
from trainer.demo.shares import Share
from trainer.errors import RunError
from trainer.project.project import Project

SETTINGS_NAME = "agent.toml"
PREDICTIONS_NAME = "predictions.jsonl"
MAX_PREDICTIONS_BYTES = 1 << 30
LOG_NAME = "agent.log"
STATE_NAME = "state"
_STOP_S = 8.0
_MAX_RESTARTS = 20


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every device of one fleet has in common."""

    project: Project
    replay: Path
    endpoint: Endpoint
    repository_url: str
    root: Path


@dataclass(slots=True)
class DeviceProcess:
    """One device: its folder, the rows that it replays, and its process while it runs."""

    device: DeviceId
    folder: Path
    share: Share
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    restarts: int = 0

    @property
    def predictions(self) -> Path:
        """The file that its sink writes."""
        return self.folder / PREDICTIONS_NAME

    @property
    def state(self) -> Path:
        """The folder of its agent."""
        return self.folder / STATE_NAME

    @property
    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the agent; it goes on where its state folder says."""
        # A session of its own: Ctrl-C reaches the program alone, which ends its children in the right order.
        with (self.folder / LOG_NAME).open("ab") as log:
            self.process = subprocess.Popen(
                guarded(
                    [sys.executable, "-P", "-m", "edge_agent", "run", "--settings", str(self.folder / SETTINGS_NAME)]
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def ensure(self) -> None:
        """Start the agent again if it is gone, as a device's service manager would.

        Raises:
            RunError: it has ended too often: starting it again does not help.
        """
        if self.is_running:
            return
        self.restarts += 1
        if self.restarts > _MAX_RESTARTS:
            raise RunError(f"{self.device} has ended {self.restarts} times; see {self.folder / LOG_NAME}")
        self.start()

    def kill(self) -> None:
        """End the agent as a power cut would: SIGKILL, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def make_devices(
    folder: Path, shares: Sequence[Share], surroundings: Surroundings, *, rows_per_second: float
) -> tuple[DeviceProcess, ...]:
    """Make a folder with settings for each share; nothing is started."""
    devices = []
    for index, share in enumerate(shares, start=1):
        name = parse_device(f"device-{index}")
        own = folder / name
        own.mkdir(parents=True, exist_ok=True)
        text = _settings_text(name, share, surroundings, rows_per_second)
        (own / SETTINGS_NAME).write_text(text, encoding="utf-8")
        devices.append(DeviceProcess(name, own, share))
    return tuple(devices)


def stop_devices(devices: Sequence[DeviceProcess]) -> None:
    """End all agents politely, then those that do not listen by force; return when all are gone."""
    for device in devices:
        if device.process is not None and device.is_running:
            device.process.terminate()
    for device in devices:
        if device.process is not None:
            try:
                device.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                device.kill()


def _settings_text(device: DeviceId, share: Share, around: Surroundings, rows_per_second: float) -> str:
    project = around.project
    monitoring = project.monitoring
    return f"""\
device = "{device}"
fleet = "{project.fleet}"
state = "{STATE_NAME}"

[broker]
host = "{around.endpoint.host}"
port = {around.endpoint.port}

[repository]
url = "{around.repository_url}"
root = {json.dumps(str(around.root))}
model = "{project.name}"
retry_min_s = 0.5
retry_max_s = 5.0

[source]
kind = "csv"
path = {json.dumps(str(around.replay))}
first_row = {share.first_row}
end_row = {share.end_row}
step = {share.step}
rows_per_second = {rows_per_second}
at_end = "wait"

[sink]
kind = "json_lines"
path = "{PREDICTIONS_NAME}"
# The summary reads it whole.
max_file_bytes = {MAX_PREDICTIONS_BYTES}

[telemetry]
background_rows = {monitoring.background_rows}
max_label_share = {monitoring.max_label_share}
resend_after_s = 5.0
"""
