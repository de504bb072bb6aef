"""What a device believes of an update repository, and which errors it may try again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from broker.messages import BundleRef
from edge_agent.bundle import parse_manifest
from edge_agent.clock import SystemClock
from edge_agent.errors import RepositoryRefusedError, RepositoryStaleError, RepositoryUnreachableError
from edge_agent.update.carried import Carried
from edge_agent.update.fetcher import BundleFetcher
from edge_agent.update_file import open_update
from exporter.errors import RepositoryError
from exporter.repository.carrying import export_update
from exporter.repository.lifetimes import Lifetimes
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.rotation import rotate_key
from exporter.repository.serving import RepositoryServer, start_repository_server
from tests.bundles import make_bundle
from tests.forging import only_whole

TOY = BundleRef("toy", 1)
CLOCK = SystemClock()


class Served:
    """A repository with one bundle, its server, and what a device keeps of it."""

    def __init__(self, folder: Path, lifetimes: Lifetimes | None = None) -> None:
        self.folder, self.keys, self.metadata = folder / "repository", folder / "keys", folder / "device" / "tuf"
        self.lifetimes = lifetimes or Lifetimes()
        root = init_repository(self.folder, self.keys, clock=CLOCK, lifetimes=self.lifetimes)
        self.root = root.read_bytes()
        self.out = folder / "out"
        self.publish(1)
        self.server: RepositoryServer = start_repository_server(self.folder)

    def publish(self, version: int) -> None:
        bundle = make_bundle(self.folder.parent / f"v{version}", version=version)
        publish_bundle(bundle, self.folder, self.keys, clock=CLOCK, lifetimes=self.lifetimes)

    def visit(self) -> BundleFetcher:
        fetcher = BundleFetcher(self.server.url, self.root, self.metadata, 5.0)
        fetcher.refresh()
        return fetcher

    def target(self, name: str) -> Path:
        """Return a served file, after its smaller forms are gone."""
        return only_whole(self.folder / "targets" / "toy" / "1", name)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.server.stop()


def test_manifest_and_variant_are_fetched(served: Served):
    fetcher = served.visit()
    manifest = parse_manifest(fetcher.fetch_manifest(TOY, served.out))
    fetcher.fetch_variant(TOY, manifest.variants[0], served.out)
    assert served.out.stat().st_size == manifest.variants[0].size_bytes


def test_a_bundle_that_is_not_listed_is_refused(served: Served):
    with pytest.raises(RepositoryStaleError, match=r"toy/9/manifest\.json: not listed"):
        served.visit().fetch_manifest(BundleRef("toy", 9), served.out)


def test_an_altered_file_is_refused_and_not_kept(served: Served):
    path = served.target("manifest.json")
    path.write_bytes(path.read_bytes().replace(b"toy", b"yot", 1))
    with pytest.raises(RepositoryRefusedError, match="altered or broken"):
        served.visit().fetch_manifest(TOY, served.out)
    assert not served.out.exists()


def test_a_file_that_is_longer_than_listed_is_refused(served: Served):
    path = served.target("manifest.json")
    path.write_bytes(path.read_bytes() + b" " * 1000)
    with pytest.raises(RepositoryRefusedError, match="longer than what is listed"):
        served.visit().fetch_manifest(TOY, served.out)


def test_a_variant_other_than_the_manifest_s_is_refused(served: Served):
    fetcher = served.visit()
    variant = parse_manifest(fetcher.fetch_manifest(TOY, served.out)).variants[0]
    other = parse_manifest((make_bundle(served.folder.parent / "v2", version=2) / "manifest.json").read_bytes())
    assert variant.sha256 != other.variants[0].sha256
    with pytest.raises(RepositoryRefusedError, match="not the one that the manifest describes"):
        fetcher.fetch_variant(TOY, other.variants[0], served.out)


def test_a_forged_root_is_refused(served: Served, tmp_path: Path):
    other = init_repository(tmp_path / "other", tmp_path / "other-keys", clock=CLOCK)
    fetcher = BundleFetcher(served.server.url, other.read_bytes(), served.metadata, 5.0)
    with pytest.raises(RepositoryRefusedError, match="not signed by the keys that this device trusts"):
        fetcher.refresh()


@pytest.mark.parametrize("root", [b"", b"{}", b"not json", b"\xff\x00"])
def test_a_root_that_is_none_is_refused(served: Served, root: bytes):
    with pytest.raises(RepositoryRefusedError, match="the trusted root"):
        BundleFetcher(served.server.url, root, served.metadata, 5.0)


def test_metadata_older_than_what_was_seen_is_refused(served: Served, tmp_path: Path):
    shutil.copytree(served.folder / "metadata", tmp_path / "old")
    served.publish(2)
    served.visit()
    shutil.copytree(tmp_path / "old", served.folder / "metadata", dirs_exist_ok=True)
    with pytest.raises(RepositoryStaleError, match="older than what this device has seen"):
        served.visit()


def test_expired_metadata_is_not_believed_until_it_is_signed_anew(tmp_path: Path):
    # Signed as if long ago.
    served = Served(tmp_path, Lifetimes(timestamp=timedelta(days=-1)))
    try:
        with pytest.raises(RepositoryUnreachableError, match="has expired"):
            served.visit()
        served.lifetimes = Lifetimes()
        served.publish(2)
        assert parse_manifest(served.visit().fetch_manifest(TOY, served.out)).ref == TOY
    finally:
        served.server.stop()


def test_what_was_seen_is_durable_before_anything_else_is_fetched(served: Served, monkeypatch: pytest.MonkeyPatch):
    synced: set[str] = set()
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", note)
    served.visit()
    seen = {served.metadata / name for name in ("timestamp.json", "snapshot.json", "targets.json")}
    roots = served.metadata / "root_history"
    assert {str(path) for path in (served.metadata, roots, *seen, *roots.iterdir())} <= synced
    synced.clear()
    # What a visit that fails has put in the place of older files is durable too.
    served.publish(2)
    for path in (served.folder / "metadata").glob("*.snapshot.json"):
        path.unlink()
    with pytest.raises(RepositoryUnreachableError):
        served.visit()
    assert str(served.metadata / "timestamp.json") in synced


def test_nonsense_instead_of_metadata_is_refused(served: Served):
    (served.folder / "metadata" / "timestamp.json").write_bytes(b"<html>sign in to this network</html>")
    with pytest.raises(RepositoryRefusedError, match="cannot be trusted"):
        served.visit()


def test_endless_metadata_is_cut_off(served: Served):
    (served.folder / "metadata" / "timestamp.json").write_bytes(b" " * 1_000_000)
    with pytest.raises(RepositoryRefusedError, match="longer than what is listed"):
        served.visit()


def test_a_server_that_is_gone_can_be_tried_again(served: Served):
    served.server.stop()
    with pytest.raises(RepositoryUnreachableError, match="the update repository"):
        served.visit()


def test_a_file_that_is_missing_on_the_server_can_be_tried_again(served: Served):
    served.target("manifest.json").unlink()
    with pytest.raises(RepositoryUnreachableError, match="404"):
        served.visit().fetch_manifest(TOY, served.out)


class _Cut(BaseHTTPRequestHandler):
    """Promises more than it sends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b"{")

    def log_message(self, *_: object) -> None:
        return


def test_an_answer_that_is_cut_off_can_be_tried_again(served: Served):
    server = HTTPServer(("127.0.0.1", 0), _Cut)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        fetcher = BundleFetcher(f"http://127.0.0.1:{server.server_port}", served.root, served.metadata, 5.0)
        with pytest.raises(RepositoryUnreachableError):
            fetcher.refresh()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_a_killed_visit_left_is_removed(served: Served):
    served.visit()
    left = served.metadata / "tmpabcdef"
    left.write_bytes(b"half")
    served.visit()
    assert not left.exists()


def test_it_needs_no_cryptography_package(served: Served):
    code = f"""
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from broker.messages import BundleRef
from edge_agent.update.fetcher import BundleFetcher
from securesystemslib.signer import _key
assert _key.CRYPTO_IMPORT_ERROR
fetcher = BundleFetcher({served.server.url!r}, {served.root!r}, Path({str(served.metadata)!r}), 5.0)
fetcher.refresh()
fetcher.fetch_manifest(BundleRef("toy", 1), Path({str(served.out)!r}))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert parse_manifest(served.out.read_bytes()).ref == TOY


def test_without_cryptography_a_forged_signature_is_refused(served: Served):
    path = served.folder / "metadata" / "timestamp.json"
    metadata = json.loads(path.read_bytes())
    metadata["signed"]["expires"] = "2999-01-01T00:00:00Z"
    path.write_text(json.dumps(metadata), encoding="utf-8")
    code = f"""
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from edge_agent.errors import RepositoryRefusedError
from edge_agent.update.fetcher import BundleFetcher
fetcher = BundleFetcher({served.server.url!r}, {served.root!r}, Path({str(served.metadata)!r}), 5.0)
try:
    fetcher.refresh()
except RepositoryRefusedError as error:
    assert "not signed" in str(error), error
else:
    raise SystemExit("believed")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class TestCarried:
    """An update file in place of a server."""

    def export(self, served: Served) -> Path:
        return export_update(served.folder, TOY, served.out.with_name("toy.update")).path

    def visit(self, served: Served, path: Path, grace_s: float = 0.0) -> None:
        with open_update(path) as update:
            fetcher = BundleFetcher("", served.root, served.metadata, 5.0, carried=Carried(update, grace_s))
            fetcher.refresh()
            manifest = parse_manifest(fetcher.fetch_manifest(TOY, served.out))
            fetcher.fetch_variant(TOY, manifest.variants[0], served.out)
            assert served.out.stat().st_size == manifest.variants[0].size_bytes

    def test_it_gives_what_a_server_gives_and_what_was_seen_in_it_counts(self, served: Served):
        path = self.export(served)
        self.visit(served, path)
        served.publish(2)
        served.visit()
        with pytest.raises(RepositoryStaleError, match="older than what this device has seen"):
            self.visit(served, path)

    def test_a_device_with_the_first_root_follows_every_root_in_it(self, served: Served):
        for role in ("timestamp", "root"):
            rotate_key(role, served.folder, served.keys, None, clock=CLOCK)
        self.visit(served, self.export(served))

    def test_what_has_expired_is_believed_within_the_grace_and_no_longer(self, tmp_path: Path):
        expired = Served(tmp_path, Lifetimes(timestamp=timedelta(seconds=-3600)))
        path = self.export(expired)
        with pytest.raises(RepositoryUnreachableError, match="has expired"):
            self.visit(expired, path)
        with pytest.raises(RepositoryUnreachableError, match="has expired"):
            self.visit(expired, path, 3000.0)
        self.visit(expired, path, 5000.0)
        # The grace is the file's alone: what it left behind opens no door for a server.
        with pytest.raises(RepositoryUnreachableError, match="has expired"):
            expired.visit()
        expired.server.stop()

    def test_a_file_signed_by_others_is_refused(self, served: Served, tmp_path: Path):
        other = Served(tmp_path / "others")
        other.server.stop()
        path = self.export(other)
        with pytest.raises(RepositoryRefusedError, match="not signed by the keys that this device trusts"):
            self.visit(served, path)

    def test_a_variant_that_was_left_out_is_named(self, served: Served):
        with pytest.raises(RepositoryError, match="no variant 'native'; it has onnx-fp32"):
            export_update(served.folder, TOY, served.out, ["native"])
        assert export_update(served.folder, TOY, served.out, ["onnx-fp32"]).variants == ("onnx-fp32",)
