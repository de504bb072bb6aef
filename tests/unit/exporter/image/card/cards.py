"""A small card, and the files that a user makes one from."""

import base64
import subprocess
from pathlib import Path
from typing import Any, Final

from edge_agent.bundle import MANIFEST_NAME, encode_manifest
from edge_agent.clock import SystemClock
from edge_agent.scoring.selection import Device
from exporter.repository.carrying import export_update
from exporter.repository.repository import init_repository, publish_bundle
from tests.unit.edge_agent.examples import classification_manifest, variant_of, write_native_classifier

PI3: Final = Device("aarch64", ("native",), 1 << 30)
TOKEN: Final = f"plant.6bb2a0e0.{'s' * 43}"
BLOB: Final = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
KEY: Final = f"ssh-ed25519 {BLOB} anna@desk"
AGENT: Final = """
device = "press-*"
fleet = "plant"
[repository]
url = "http://updates.example"
root = "root.json"
model = "rain"
[source]
kind = "csv"
path = "rows.csv"
[sink]
kind = "json_lines"
path = "answers.jsonl"
"""
ENROLMENT: Final = """
[enrolment]
url = "https://fleet.example:8884"
ca = "ca.pem"
"""
IDENTITY: Final = """
[broker]
host = "fleet.example"
port = 8883
ca = "ca.pem"
certificate = "press.pem"
key = "press.key"
"""


def write_card(folder: Path, agent: str = AGENT, card: str = "") -> Path:
    """Write ``card.toml`` and what it may name, but for bundle and certificates; return its path."""
    root = init_repository(folder / "repository", folder / "keys", clock=SystemClock())
    (folder / "root.json").write_bytes(root.read_bytes())
    (folder / "rows.csv").write_text("temperature,wind\n1,2\n")
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "agent.toml").write_text(agent)
    path = folder / "card.toml"
    path.write_text(card)
    return path


def write_update(folder: Path) -> Path:
    """Write an update file of that folder's repository, whose one variant is the native engine's."""
    bundle = folder / "bundle"
    bundle.mkdir()
    changes: dict[str, Any] = {"variants": (variant_of(write_native_classifier(bundle / "model"), "native", "native"),)}
    (bundle / MANIFEST_NAME).write_bytes(encode_manifest(classification_manifest(**changes)))
    ref = publish_bundle(bundle, folder / "repository", folder / "keys", clock=SystemClock())
    return export_update(folder / "repository", ref, folder / "rain.update").path


def write_certificates(folder: Path) -> None:
    """Write an authority's certificate (``ca.pem``), and a key with a certificate (``press.key``, ``press.pem``)."""
    for name, subject, extension in (("ca", "plant", "CA:TRUE"), ("press", "press-1", "CA:FALSE")):
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        about = ["-subj", f"/CN={subject}", "-addext", f"basicConstraints=critical,{extension}"]
        # Without it, the machine's own settings add a second extension of that kind.
        config = folder / "openssl.cnf"
        config.write_text("[req]\ndistinguished_name = name\n[name]\n")
        command = [*words, *files, *about, "-config", str(config)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
