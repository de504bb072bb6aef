"""A repository for one test: its folders, its clock, and devices that read it."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from broker.messages import BundleRef
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.roles import Quorum
from tests.forging import list_file
from tests.unit.exporter.repositories import SetClock, fetch, write_bundle


@dataclass
class Place:
    """Folders and a clock; TUF's client judges expiry by the machine's clock, so that one must be near it."""

    folder: Path
    clock: SetClock = field(default_factory=lambda: SetClock(time.time()))  # noqa: TID251
    root: bytes = b""

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def root_keys(self) -> Path:
        return self.keys / "root"

    def init(self, root: Quorum = Quorum(), targets: Quorum = Quorum()) -> "Place":  # noqa: B008 - frozen values
        path = init_repository(self.repository, self.keys, clock=self.clock, root=root, targets=targets)
        self.root = path.read_bytes()
        return self

    def init_old(self) -> "Place":
        """Make what was made before models had roles: one folder of keys, one flat list."""
        path = init_repository(self.repository, self.keys, clock=self.clock, root_keys_folder=self.keys)
        self.root = path.read_bytes()
        return self

    def list_old(self, bundle: Path, ref: BundleRef) -> None:
        """List a bundle's files among the targets themselves."""
        for name in ("manifest.json", "model.onnx"):
            custom = {"bundle": str(ref), "is": "manifest" if name == "manifest.json" else "onnx-fp32"}
            list_file(self.repository, self.keys, f"{ref}/{name}", (bundle / name).read_bytes(), custom=custom)

    def bundle(self, version: int = 1, name: str = "digits", content: bytes | None = None) -> Path:
        folder = self.folder / f"{name}-{version}"
        if folder.exists():
            return folder
        return write_bundle(folder, version, b"v%d" % version if content is None else content, name)

    def publish(self, version: int = 1, name: str = "digits", content: bytes | None = None) -> BundleRef:
        return publish_bundle(self.bundle(version, name, content), self.repository, self.keys, clock=self.clock)

    def fetch(self, target: str, device: str = "device") -> bytes | None:
        """Return a target as a device accepts it that was given the repository's first root."""
        return fetch(self.repository, self.folder / device, target, self.root)

    def carry_away(self, *names: str) -> Path:
        """Move keys to where they are not at hand."""
        away = self.folder / "away"
        away.mkdir(exist_ok=True)
        for name in names:
            path = self.keys / name
            path.rename(away / path.name)
        return away
