"""Small bundles, a clock that tests set, and TUF's own client reading a repository's folder."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from edge_agent.bundle import (
    Estimation,
    Feature,
    FeatureReference,
    GoldenRow,
    Lineage,
    LinearModel,
    Manifest,
    TrialRules,
    Variant,
    encode_manifest,
)

NOW_S = 1_780_000_000.0


class SetClock:
    """A clock that stands still at `now_s`."""

    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def utc_s(self) -> float:
        return self.now_s


def write_bundle(folder: Path, version: int = 1, content: bytes = b"model", name: str = "digits") -> Path:
    """Write a bundle whose one variant has ``content``."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    variant = Variant(
        "onnx-fp32", "onnx", "model.onnx", len(content), hashlib.sha256(content).hexdigest(), 1e-5, 1.0, 1.0
    )
    manifest = Manifest(
        format=1,
        name=name,
        version=version,
        task="classification",
        metric="accuracy",
        features=(Feature("x"),),
        labels=("a", "b"),
        output_edges=(),
        output_blocks=((1, 1),),
        references=(FeatureReference((0.0,), ((1, 1),)),),
        estimation=Estimation(
            LinearModel((0.0,), (1.0,), ((1.0,), (-1.0,)), (0.0, 0.0)), (), (0.5,) * 20, (1,) * 20, 0.5, (0.5,)
        ),
        golden=(GoldenRow((0.0,), (0.5, 0.5)),),
        variants=(variant,),
        trial=TrialRules(),
        lineage=Lineage("run", "0" * 64, "1", "2026-11-24T00:00:00Z"),
    )
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return folder


class FolderFetcher(FetcherInterface):
    """Reads a repository's files as a static server would give them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix("file://repository/")
        if not path.is_file():
            raise DownloadHTTPError(f"404 {url}", 404)
        return iter([path.read_bytes()])


def open_client(repository: Path, state: Path, root: bytes | None = None) -> Updater:
    """Return TUF's client, which trusts ``root`` (the repository's first, unless given) and keeps ``state``."""
    state.mkdir(parents=True, exist_ok=True)
    (state / "files").mkdir(exist_ok=True)
    return Updater(
        str(state),
        "file://repository/metadata/",
        str(state / "files"),
        "file://repository/targets/",
        FolderFetcher(repository),
        bootstrap=root or (repository / "metadata" / "1.root.json").read_bytes(),
    )


def fetch(repository: Path, state: Path, target: str, root: bytes | None = None) -> bytes | None:
    """Return a target's content as a client accepts it, None where it is not listed."""
    client = open_client(repository, state, root)
    client.refresh()
    info = client.get_targetinfo(target)
    return None if info is None else Path(client.download_target(info)).read_bytes()
