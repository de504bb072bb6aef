"""In which form a device fetches a file, and that it keeps the listed file itself whatever becomes of a form."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.messages import BundleRef
from edge_agent.bundle import parse_manifest
from edge_agent.clock import SystemClock
from edge_agent.errors import RepositoryRefusedError, RepositoryUnreachableError
from edge_agent.update.fetcher import BundleFetcher, Fetched
from exporter.repository.delta import compress, make_delta
from exporter.repository.repository import init_repository, publish_bundle
from tests.forging import list_file
from tests.integration.exporter.mirror import Mirror
from tests.unit.exporter.repositories import write_bundle

CLOCK = SystemClock()
FIRST, SECOND = BundleRef("digits", 1), BundleRef("digits", 2)
# To a tenth text, so that compression alone saves little and a difference saves nearly all.
BASE = random.Random(3).randbytes(40_000) + b"leaf\n" * 1000
DATA = BASE[:7000] + b"a changed threshold" + BASE[7000:]


class Scene:
    """A repository with two versions, and a device that has the first in a slot."""

    def __init__(self, folder: Path, mirror: Mirror) -> None:
        self.folder, self.mirror, self.repository, self.keys = folder, mirror, mirror.folder, folder / "keys"
        self.root = init_repository(self.repository, self.keys, clock=CLOCK).read_bytes()
        self.slot = write_bundle(folder / "slot", 1, BASE)
        self.second = write_bundle(folder / "second", 2, DATA)
        for bundle in (self.slot, self.second):
            publish_bundle(bundle, self.repository, self.keys, clock=CLOCK)

    def fetch(self, bases: tuple[Path, ...] | None = None) -> Fetched:
        bases = (self.slot,) if bases is None else bases
        fetcher = BundleFetcher(self.mirror.url, self.root, self.folder / "tuf", 5.0, bases=bases)
        fetcher.refresh()
        manifest = parse_manifest(fetcher.fetch_manifest(SECOND, self.folder / "manifest"))
        fetched = fetcher.fetch_variant(SECOND, manifest.variants[0], self.folder / "model")
        assert (self.folder / "manifest").read_bytes() == (self.second / "manifest.json").read_bytes()
        assert (self.folder / "model").read_bytes() == DATA
        assert not list((self.folder / "tuf").glob("tmp*"))
        return fetched

    def list_form(self, name: str, frame: bytes) -> None:
        """Sign other content for a form of the model."""
        list_file(self.repository, self.keys, f"digits/2/{name}", frame, role="model-digits")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Mirror(tmp_path / "repository") as mirror:
        yield Scene(tmp_path, mirror)


def test_a_device_that_has_the_version_before_fetches_the_difference(scene: Scene):
    fetched = scene.fetch()
    assert fetched.form == "delta"
    assert fetched.size_bytes < 500
    assert not [path for path in scene.mirror.requests if path.endswith((".onnx", ".onnx.zst"))]


def test_a_device_that_has_another_version_fetches_it_compressed(scene: Scene):
    (scene.slot / "model.onnx").write_bytes(BASE[::-1])
    assert scene.fetch() == scene.fetch(bases=())
    fetched = scene.fetch(bases=(scene.folder / "nowhere",))
    assert fetched.form == "compressed"
    assert fetched.size_bytes < len(DATA)


def test_a_device_without_a_decoder_fetches_the_file(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edge_agent.update.fetcher.find_decoder", lambda: None)
    assert scene.fetch() == Fetched("whole", len(DATA))
    assert not [path for path in scene.mirror.requests if path.endswith("zst")]


@pytest.mark.parametrize("lie", [404, b"", b"broken", b"x" * 1_000_000])
def test_a_form_that_is_away_or_broken_gives_way_to_the_next(scene: Scene, lie: bytes | int):
    scene.mirror.lies = {".onnx.from-1.zst": lie}
    assert scene.fetch().form == "compressed"
    scene.mirror.lies = {".zst": lie}
    assert scene.fetch() == Fetched("whole", len(DATA))


# Made when they are wanted: the bomb takes seconds.
FRAMES: dict[str, Callable[[], bytes]] = {
    "bomb": lambda: compress(bytes(200 << 20)),
    "too short": lambda: compress(DATA[:-1]),
    "other content": lambda: compress(DATA[:-1] + b"?"),
    "other base": lambda: make_delta(DATA, DATA) or b"",
    "no frame": lambda: b"no frame",
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_signed_form_that_is_not_the_file_gives_way_to_the_file(scene: Scene, name: str):
    frame = FRAMES[name]()
    scene.list_form("model.onnx.from-1.zst", frame)
    scene.list_form("model.onnx.zst", frame)
    assert scene.fetch() == Fetched("whole", len(DATA))


def test_a_form_that_is_larger_than_the_file_is_not_even_fetched(scene: Scene):
    scene.list_form("model.onnx.from-1.zst", bytes(len(DATA) + 1))
    assert scene.fetch().form == "compressed"
    assert not [path for path in scene.mirror.requests if path.endswith("model.onnx.from-1.zst")]


def test_a_form_that_is_named_and_not_listed_gives_way_to_the_next(scene: Scene):
    digest = hashlib.sha256(BASE).hexdigest()
    custom = {"is": "onnx-fp32", "compressed": "model.onnx.zst", "deltas": {digest: "nowhere.zst"}}
    list_file(scene.repository, scene.keys, "digits/2/model.onnx", DATA, role="model-digits", custom=custom)
    assert scene.fetch().form == "compressed"


def test_a_base_that_cannot_be_read_is_passed_over(scene: Scene):
    (scene.slot / "a-folder").mkdir()
    (scene.slot / "a-link").symlink_to(scene.slot / "nowhere")
    assert scene.fetch().form == "delta"


def test_a_server_that_is_gone_is_so_for_every_form(scene: Scene):
    fetcher = BundleFetcher(scene.mirror.url, scene.root, scene.folder / "tuf", 5.0, bases=(scene.slot,))
    fetcher.refresh()
    scene.mirror.lies = {".json": 503, ".zst": 503}
    with pytest.raises(RepositoryUnreachableError, match="503"):
        fetcher.fetch_manifest(SECOND, scene.folder / "manifest")


def test_a_proxy_that_the_environment_names_is_used(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", scene.mirror.url)
    monkeypatch.setenv("no_proxy", "direct.invalid")
    fetcher = BundleFetcher("http://updates.invalid", scene.root, scene.folder / "tuf", 5.0)
    with pytest.raises((RepositoryUnreachableError, RepositoryRefusedError)):
        fetcher.refresh()
    assert "http://updates.invalid/metadata/2.root.json" in scene.mirror.requests


def test_what_a_server_encodes_on_the_way_is_not_decoded(scene: Scene):
    # Else a short answer could be a long file.
    def encoded(handler):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(json.dumps({}).encode())

    scene.mirror.lies = {"timestamp.json": encoded}
    with pytest.raises(RepositoryRefusedError, match="cannot be trusted"):
        scene.fetch()
