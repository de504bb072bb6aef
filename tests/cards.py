"""Real cards for tests: ``card.toml`` with settings, rows, a trusted root, a signed bundle in an update file, a key."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.messages import BundleRef
from edge_agent.bundle import MANIFEST_NAME, encode_manifest
from edge_agent.clock import SystemClock
from exporter.repository.carrying import export_update
from exporter.repository.repository import init_repository, publish_bundle
from tests.bundles import write_rows
from tests.unit.edge_agent.examples import classification_manifest, variant_of, write_native_classifier

FEATURES = ("temperature", "wind")
# Of a network for documentation (RFC 5737): nothing answers there.
NOWHERE = "http://192.0.2.1"
AGENT = """\
device = "{device}"
fleet = "test"
[broker]
host = "{broker_host}"
port = {broker_port}
[repository]
url = "{repository}"
root = "root.json"
model = "rain"
spare_disk_bytes = 0
[source]
kind = "csv"
path = "rows.csv"
rows_per_second = 100.0
[sink]
kind = "json_lines"
path = "answers.jsonl"
[telemetry]
max_window_s = 1.0
"""


@dataclass(frozen=True)
class UserFiles:
    """What a user has on his machine before he makes a card."""

    folder: Path
    bundle: BundleRef
    key: Path

    @property
    def card(self) -> Path:
        """Path of ``card.toml``."""
        return self.folder / "card.toml"

    @property
    def agent(self) -> Path:
        """Path of the agent's settings."""
        return self.folder / "agent.toml"

    def say(self, text: str) -> None:
        """Write ``card.toml``."""
        self.card.write_text(text)

    def set_agent(self, **changes: Any) -> None:
        """Write the agent's settings."""
        values = {"device": "press-1", "broker_host": "127.0.0.1", "broker_port": 1883, "repository": NOWHERE}
        self.agent.write_text(AGENT.format(**(values | changes)))


def make_user_files(folder: Path) -> UserFiles:
    """Make them: a signed repository with one bundle of the native engine, exported; settings; rows; an SSH key."""
    folder.mkdir(parents=True, exist_ok=True)
    keys, repository, bundle = folder / "keys", folder / "repository", folder / "bundle"
    trusted = init_repository(repository, keys, clock=SystemClock())
    (folder / "root.json").write_bytes(trusted.read_bytes())
    bundle.mkdir()
    changes: dict[str, Any] = {
        "variants": (variant_of(write_native_classifier(bundle / "model.native"), "native", "native"),)
    }
    (bundle / MANIFEST_NAME).write_bytes(encode_manifest(classification_manifest(**changes)))
    ref = publish_bundle(bundle, repository, keys, clock=SystemClock())
    export_update(repository, ref, folder / "rain.update")
    write_rows(folder / "rows.csv", 100_000, FEATURES)
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "someone", "-f", str(key)], check=True)
    files = UserFiles(folder, ref, key)
    files.set_agent()
    files.say('agent = "agent.toml"\nbundle = "rain.update"\n[ssh]\nuser = "warden"\nkeys = ["id_ed25519.pub"]\n')
    return files
