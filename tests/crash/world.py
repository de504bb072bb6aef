"""What a device lives in: a broker, an update repository with three bundles, rows to score, and its settings."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.messages import BundleRef
from broker.servers.local import LocalBroker, start_local_broker
from edge_agent.bundle import TrialRules
from edge_agent.clock import SystemClock
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.serving import RepositoryServer, start_repository_server
from tests.bundles import make_bundle, write_rows
from tests.crash.witness import DEVICE

N_ROWS: Final = 20_000
WINDOW_ROWS: Final = 20
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - folders of random names are made there


@dataclass
class World:
    """Everything but the device.

    Attributes:
        folder: for the files of devices.
        bundles: the first two are good, the third fails its trial.
        url: of the update repository, as devices are told.
    """

    folder: Path
    broker: LocalBroker
    server: RepositoryServer
    root: Path
    rows: Path
    bundles: tuple[BundleRef, BundleRef, BundleRef]
    repository: Path
    url: str = field(default="")

    def write_settings(
        self, folder: Path, *, fleet: str = "test", source: str = "", repository: str = "", port: int | None = None
    ) -> Path:
        """Write the settings of a device whose whole disk is ``folder/disk``; return the file."""
        path = folder / "agent.toml"
        path.write_text(
            f"""
device = "{DEVICE}"
fleet = "{fleet}"
state = "disk/state"
[broker]
host = "{self.broker.endpoint.host}"
port = {port or self.broker.endpoint.port}
[repository]
url = "{self.url or self.server.url}"
root = "{self.root}"
model = "toy"
spare_disk_bytes = 0
{repository or "timeout_s = 5"}
retry_min_s = 0.1
retry_max_s = 0.5
[source]
kind = "csv"
path = "{self.rows}"
{source}
[sink]
kind = "json_lines"
path = "disk/answers.jsonl"
[telemetry]
resend_after_s = 1.0
background_rows = 1
""",
            encoding="utf-8",
        )
        return path


@contextlib.contextmanager
def open_world(folder: Path) -> Iterator[World]:
    """Start a broker and a repository for the time of the context."""
    folder.mkdir(exist_ok=True)
    repository, keys, trusted = folder / "repository", folder / "keys", folder / "root.json"
    shutil.copy(init_repository(repository, keys, clock=SystemClock()), trusted)
    rules = (TrialRules(rows=20), TrialRules(rows=20), TrialRules(rows=20, max_latency_us=0.001))
    one, two, three = (
        publish_bundle(
            make_bundle(folder / f"v{version}", version=version, trial=trial, window_rows=WINDOW_ROWS),
            repository,
            keys,
            clock=SystemClock(),
        )
        for version, trial in enumerate(rules, start=1)
    )
    rows = write_rows(folder / "rows.csv", N_ROWS)
    broker = start_local_broker(folder / "broker")
    try:
        server = start_repository_server(repository)
        try:
            yield World(folder, broker, server, trusted, rows, (one, two, three), repository)
        finally:
            server.stop()
    finally:
        broker.stop()


@contextlib.contextmanager
def quick_folder() -> Iterator[Path]:
    """Make a folder in memory where that is possible: thousands of disks need not be written to a real one."""
    place = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > (1 << 30) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="fieldloop-crash-") as folder:
        yield Path(folder)
