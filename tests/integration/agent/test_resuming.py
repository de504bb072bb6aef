"""A download that was cut off goes on where it was, and what comes of it is the listed file or nothing."""

import random
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined] # documented there

from broker.messages import BundleRef
from edge_agent.bundle import parse_manifest
from edge_agent.clock import SystemClock
from edge_agent.errors import RepositoryRefusedError, RepositoryUnreachableError
from edge_agent.update.fetcher import BundleFetcher, Fetched
from edge_agent.update.partial import kept_bytes
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.serving import parse_range, start_repository_server
from tests.forging import list_file
from tests.integration.exporter.mirror import Mirror
from tests.unit.exporter.repositories import write_bundle

CLOCK = SystemClock()
DIGITS, NEXT = BundleRef("digits", 1), BundleRef("digits", 2)
# Chance: no smaller form of it is listed.
DATA = random.Random(5).randbytes(300_000)


class Cutting:
    """Serves a file by ranges, and breaks each answer off after some bytes; counts what it sent.

    Attributes:
        cut: bytes of each answer; None: all.
        spoil: what it says in place of the right bytes of an answer.
        shift: how far beside the range that was asked for it answers.
        knows_ranges: whether it looks at them at all.
    """

    def __init__(self, data: bytes, cut: int | None) -> None:
        self.data, self.cut, self.spoil, self.shift, self.knows_ranges = data, cut, b"", 0, True
        self.sent = 0
        self.firsts: list[int] = []

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        size = len(self.data)
        try:
            part = parse_range(handler.headers.get("Range"), size) if self.knows_ranges else None
        except ValueError:
            self.firsts.append(-1)
            handler.send_error(416)
            return
        first = 0 if part is None else part[0] + self.shift
        self.firsts.append(first)
        handler.send_response(200 if part is None else 206)
        if part is not None:
            handler.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        handler.send_header("Content-Length", str(size - first))
        handler.end_headers()
        answer = (self.spoil or self.data[first:])[: self.cut]
        self.sent += len(answer)
        handler.wfile.write(answer)


class Scene:
    def __init__(self, folder: Path, mirror: Mirror) -> None:
        self.folder, self.mirror = folder, mirror
        self.repository, self.keys, self.metadata = mirror.folder, folder / "keys", folder / "tuf"
        self.root = init_repository(self.repository, self.keys, clock=CLOCK).read_bytes()
        publish_bundle(write_bundle(folder / "one", 1, DATA), self.repository, self.keys, clock=CLOCK)

    def cutting(self, cut: int | None, data: bytes = DATA) -> Cutting:
        server = Cutting(data, cut)
        self.mirror.lies = {"model.onnx": server}
        return server

    def fetch(self, bundle: BundleRef = DIGITS, url: str | None = None) -> Fetched:
        fetcher = BundleFetcher(url or self.mirror.url, self.root, self.metadata, 5.0)
        fetcher.refresh()
        manifest = parse_manifest(fetcher.fetch_manifest(bundle, self.folder / "manifest"))
        fetched = fetcher.fetch_variant(bundle, manifest.variants[0], self.folder / "model")
        assert (self.folder / "model").read_bytes() == DATA
        return fetched

    def fetch_and_be_cut(self, times: int) -> None:
        for _ in range(times):
            with pytest.raises(RepositoryUnreachableError):
                self.fetch()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Mirror(tmp_path / "repository") as mirror:
        yield Scene(tmp_path, mirror)


def test_each_visit_goes_on_where_the_one_before_was_cut_off(scene: Scene):
    server = scene.cutting(70_000)
    scene.fetch_and_be_cut(4)
    assert scene.fetch() == Fetched("whole", len(DATA))
    assert server.firsts == [0, 70_000, 140_000, 210_000, 280_000]
    assert server.sent == len(DATA)
    assert kept_bytes(scene.metadata) == 0


def test_our_own_server_goes_on_too(scene: Scene):
    scene.cutting(123_456)
    scene.fetch_and_be_cut(1)
    server = start_repository_server(scene.repository)
    try:
        assert scene.fetch(url=server.url) == Fetched("whole", len(DATA))
    finally:
        server.stop()


def test_a_server_without_ranges_sends_all_of_it_again(scene: Scene):
    server = scene.cutting(70_000)
    scene.fetch_and_be_cut(1)
    server.knows_ranges, server.cut = False, None
    assert scene.fetch() == Fetched("whole", len(DATA))


def test_a_server_that_answers_with_another_range_is_asked_for_all_of_it(
    scene: Scene, caplog: pytest.LogCaptureFixture
):
    server = scene.cutting(70_000)
    scene.fetch_and_be_cut(1)
    server.shift, server.cut = -1000, None
    assert scene.fetch() == Fetched("whole", len(DATA))
    assert server.firsts == [0, 69_000, 0]
    # What it answered with was not even looked at.
    assert "from the start" not in caplog.text


def test_a_server_whose_file_ends_before_that_is_asked_for_all_of_it(scene: Scene):
    server = scene.cutting(70_000)
    scene.fetch_and_be_cut(1)
    server.data = DATA[:60_000]
    with pytest.raises(RepositoryRefusedError, match="altered or broken"):
        scene.fetch()
    assert server.firsts == [0, -1, 0, 0]


def test_a_beginning_that_a_power_cut_spoiled_costs_one_more_download(scene: Scene):
    server = scene.cutting(70_000)
    scene.fetch_and_be_cut(1)
    part = next((scene.metadata / "partial").glob("*/*"))
    part.write_bytes(bytes(70_000))
    server.cut = None
    assert scene.fetch() == Fetched("whole", len(DATA))
    assert server.firsts == [0, 70_000, 0]


def test_a_beginning_that_is_longer_than_the_file_counts_for_nothing(scene: Scene):
    server = scene.cutting(70_000)
    scene.fetch_and_be_cut(1)
    part = next((scene.metadata / "partial").glob("*/*"))
    part.write_bytes(DATA + b"more")
    server.cut = None
    assert scene.fetch() == Fetched("whole", len(DATA))
    assert server.firsts == [0, 0]


def test_a_beginning_that_was_whole_already_is_not_fetched_again(scene: Scene):
    server = scene.cutting(70_000)
    scene.fetch_and_be_cut(1)
    next((scene.metadata / "partial").glob("*/*")).write_bytes(DATA)
    scene.fetch()
    assert server.firsts == [0]


def test_a_server_that_goes_on_with_other_bytes_is_refused_and_nothing_of_it_kept(scene: Scene):
    server = scene.cutting(70_000)
    scene.fetch_and_be_cut(1)
    server.spoil, server.cut = bytes(len(DATA)), len(DATA) - 70_000
    with pytest.raises((RepositoryRefusedError, RepositoryUnreachableError)):
        scene.fetch()
    server.spoil, server.cut = b"", None
    assert scene.fetch() == Fetched("whole", len(DATA))


def test_a_server_that_goes_on_without_end_is_cut_off(scene: Scene):
    server = scene.cutting(70_000)
    scene.fetch_and_be_cut(1)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 70000-{len(DATA) - 1}/{len(DATA)}")
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(1 << 16))

    scene.mirror.lies = {"model.onnx": endless}
    with pytest.raises((RepositoryRefusedError, RepositoryUnreachableError)):
        scene.fetch()
    assert kept_bytes(scene.metadata) <= len(DATA)
    server.cut = None
    scene.mirror.lies = {"model.onnx": server}
    assert scene.fetch() == Fetched("whole", len(DATA))


def test_the_beginnings_of_another_bundle_are_removed(scene: Scene):
    scene.cutting(70_000)
    scene.fetch_and_be_cut(1)
    publish_bundle(write_bundle(scene.folder / "two", 2, DATA), scene.repository, scene.keys, clock=CLOCK)
    scene.mirror.lies = {}
    scene.fetch(NEXT)
    assert [path.name for path in (scene.metadata / "partial").iterdir()] == ["digits-2"]
    assert kept_bytes(scene.metadata) == 0


def test_a_smaller_form_goes_on_too(scene: Scene):
    form = random.Random(6).randbytes(1000)
    custom = {"is": "onnx-fp32", "compressed": "model.onnx.zst"}
    list_file(scene.repository, scene.keys, "digits/1/model.onnx.zst", form, role="model-digits")
    list_file(scene.repository, scene.keys, "digits/1/model.onnx", DATA, role="model-digits", custom=custom)
    server = Cutting(form, 400)
    scene.mirror.lies = {"model.onnx.zst": server, "model.onnx": 503}
    scene.fetch_and_be_cut(2)
    assert server.firsts == [0, 400]
    scene.mirror.lies = {"model.onnx.zst": server}
    # What is whole now is no frame: the file itself is fetched.
    assert scene.fetch() == Fetched("whole", len(DATA))
    assert server.firsts == [0, 400, 800]


@pytest.mark.parametrize("hashes", [{"sha512": "ab" * 64}, {"sha256": "../" * 10 + "etc"}])
def test_a_file_that_is_listed_without_a_proper_sha256_is_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, hashes: dict[str, str]
):
    target = TargetFile(len(DATA), hashes, "digits/1/model.onnx")
    fetcher = BundleFetcher(scene.mirror.url, scene.root, scene.metadata, 5.0)
    monkeypatch.setattr(fetcher._updater, "get_targetinfo", lambda _: target)
    with pytest.raises(RepositoryRefusedError, match="no SHA-256 is listed"):
        fetcher.fetch_manifest(DIGITS, scene.folder / "manifest")
