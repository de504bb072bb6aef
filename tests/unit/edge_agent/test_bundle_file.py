"""A packed bundle has one form; whatever else a ZIP file can be is refused, by name, before it is read."""

import io
import os
import stat
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge_agent.bundle import (
    MAX_BUNDLE_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    MAX_VARIANT_BYTES,
    Attachment,
    bundle_files,
    encode_manifest,
)
from edge_agent.bundle_file import PackedBundle, open_packed, verified
from edge_agent.bundle_layout import MAX_DIRECTORY_BYTES
from edge_agent.errors import AlteredError, BundleError
from tests.conftest import REPOSITORY
from tests.packed import Part, archive
from tests.unit.edge_agent.examples import classification_manifest, variant_bytes

MODEL, OTHER, SBOM = b"a model", b"another model", b"{}"
MANIFEST = encode_manifest(
    classification_manifest(
        variants=(variant_bytes("onnx-fp32", "a.onnx", MODEL), variant_bytes("onnx-int8", "b.onnx", OTHER)),
        sbom=Attachment("sbom.cdx.json", 2, variant_bytes("", "", SBOM).sha256),
    )
)
PARTS = (
    Part("manifest.json", MANIFEST),
    Part("a.onnx", MODEL),
    Part("b.onnx", OTHER),
    Part("sbom.cdx.json", SBOM),
)
KEPT = REPOSITORY / "tests" / "data" / "bundles"


class Asked(io.BytesIO):
    """A file that remembers how much was asked of it."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0, "everything is asked for"
        self.most = max(self.most, size)
        return super().read(size)


def read_all(data: bytes) -> dict[str, bytes]:
    bundle = PackedBundle(io.BytesIO(data))
    return {file.name: b"".join(bundle.chunks(file)) for file in bundle_files(bundle.manifest)}


def with_part(index: int, **changes: object) -> list[Part]:
    parts = list(PARTS)
    fields = {name: getattr(parts[index], name) for name in Part.__dataclass_fields__}
    parts[index] = Part(**(fields | changes))
    return parts


def deflated(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


def overlapping() -> bytes:
    """The second model lies inside the first, as in bombs that use the same bytes again and again."""
    inner = archive([Part("b.onnx", OTHER)])[: 30 + 6 + len(OTHER)]
    manifest = encode_manifest(
        classification_manifest(
            variants=(variant_bytes("x", "a.onnx", inner), variant_bytes("y", "b.onnx", OTHER)),
        )
    )
    parts = [Part("manifest.json", manifest), Part("a.onnx", inner)]
    offset = len(archive(parts[:1], end={})) - 22 - 46 - 13
    data = archive([*parts, Part("b.onnx", OTHER, central={"offset": offset + 30 + 6})])
    # Without the copy that the writer put behind it.
    copy = len(inner)
    directory = data.index(b"PK\1\2")
    end = bytearray(data[: directory - copy] + data[directory:])
    end[-6:-2] = (directory - copy).to_bytes(4, "little")
    return bytes(end)


def test_what_was_packed_is_read_as_it_was():
    assert read_all(archive(PARTS)) == {"a.onnx": MODEL, "b.onnx": OTHER, "sbom.cdx.json": SBOM}


@pytest.mark.parametrize("path", sorted(KEPT.rglob("*.bundle")), ids=lambda path: path.name)
def test_bundles_that_were_packed_by_older_versions_are_still_read(path: Path):
    with open_packed(path) as bundle:
        for file in bundle_files(bundle.manifest):
            assert len(b"".join(bundle.chunks(file))) == file.size_bytes


def test_there_are_bundles_of_older_versions():
    assert len(list(KEPT.rglob("*.bundle"))) >= 2


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        # Paths that leave the folder, or hide in it.
        (with_part(1, name="../a.onnx"), "entry 1 is named '../a.onnx'"),
        (with_part(1, name="/a.onnx"), "entry 1 is named '/a.onnx'"),
        (with_part(1, name="x/a.onnx"), "entry 1 is named 'x/a.onnx'"),
        (with_part(1, name="..\\a.onnx"), "entry 1 is named"),
        (with_part(1, name="c:a.onnx"), "entry 1 is named 'c:a.onnx'"),
        (with_part(1, name=".."), "entry 1 is named '..'"),
        (with_part(1, name="a.onnx/"), "entry 1 is named 'a.onnx/'"),
        (with_part(1, name="a.onnx\0"), "entry 1 is named"),
        (with_part(1, name="x" * 65), "entry 1 is named"),
        (with_part(1, name="", both={"name_len": 0}), "entry 1 is named ''"),
        # The same name in another writing.
        (with_part(1, name="A.onnx"), "entry 1 is named 'A.onnx'"),
        (with_part(1, name="\uff41.onnx"), "entry 1 is named"),
        (with_part(1, raw_name=b"\xff.onnx"), "entry 1 is named"),
        # Names twice, missing, too many, in another order.
        ([*PARTS, PARTS[1]], "two entries 'a.onnx'"),
        ([*PARTS, PARTS[0]], "two entries 'manifest.json'"),
        (PARTS[:3], "lacks sbom.cdx.json, which manifest.json names"),
        ([*PARTS, Part("c.onnx", b"c")], "holds c.onnx, which manifest.json does not name"),
        ([PARTS[0], PARTS[2], PARTS[1], PARTS[3]], "the order is a.onnx, b.onnx, sbom.cdx.json"),
        ([*PARTS[1:], PARTS[0]], "entry 0 is 'a.onnx'; manifest.json comes first"),
        (
            [PARTS[0], *(Part(f"f{n}", b"f") for n in range(MAX_FILES))],
            f"says that it has {MAX_FILES + 1} entries",
        ),
        # What a ZIP file can also hold.
        (with_part(1, both={"flags": 0x1}), "entry 'a.onnx' is encrypted"),
        (with_part(1, both={"flags": 0x41}), "entry 'a.onnx' is encrypted"),
        (with_part(1, both={"flags": 0x8}), "has a data descriptor"),
        (with_part(1, both={"flags": 0x800}), "is not written as"),
        (with_part(1, both={"time": 1}), "is not written as"),
        (with_part(1, both={"needed": 45}), "is not written as"),
        (with_part(1, central={"made_by": 20}), "is not written as"),
        (with_part(1, central={"internal": 1}), "is not written as"),
        (with_part(1, extra=b"\1\0\0\0"), "has an extra field"),
        (with_part(1, comment=b"hello"), "has a comment"),
        (with_part(1, central={"disk": 1}), "lies on another disk"),
        (with_part(1, central={"external": (stat.S_IFLNK | 0o777) << 16}), "is a link"),
        (with_part(1, central={"external": (stat.S_IFIFO | 0o644) << 16}), "has the mode 10644"),
        (with_part(1, central={"external": (stat.S_IFCHR | 0o644) << 16}), "has the mode 20644"),
        (with_part(1, central={"external": (stat.S_IFREG | 0o4755) << 16}), "has the mode 104755"),
        (with_part(1, central={"external": (stat.S_IFREG | 0o644) << 16 | 0x10}), "is not written as"),
        # Bombs: by ratio, by size, by lying about either.
        (with_part(1, stored=deflated(bytes(1 << 20)), data=bytes(1 << 20), both={"method": 8}), "is compressed"),
        (with_part(1, both={"method": 12}), "is compressed (method 12)"),
        (with_part(1, both={"compressed": 1}), "takes 1 bytes for its 7"),
        (with_part(1, both={"size": 1 << 31, "compressed": 1 << 31}), f"at most {MAX_VARIANT_BYTES} are allowed"),
        (
            with_part(0, both={"size": MAX_MANIFEST_BYTES + 1, "compressed": MAX_MANIFEST_BYTES + 1}),
            f"at most {MAX_MANIFEST_BYTES} are allowed",
        ),
        (with_part(1, both={"size": 0xFFFFFFFF, "compressed": 0xFFFFFFFF}), "has lengths in 64 bits"),
        (with_part(1, both={"size": 8, "compressed": 8}), "begins at byte"),
        (with_part(1, both={"size": 6, "compressed": 6}), "begins at byte"),
        (with_part(3, both={"size": 3, "compressed": 3}), "between its entries and its directory"),
        (with_part(1, data=b"", both={"crc32": 0}), "is empty"),
        # The two headers say different things.
        (with_part(1, local={"size": 1 << 31}), "its header says other things than the directory"),
        (with_part(1, local={"crc32": 1}), "its header says other things than the directory"),
        (with_part(1, local={"flags": 8}), "its header says other things than the directory"),
        (with_part(1, local={"name_len": 5}), "its header says other things than the directory"),
        (with_part(1, central={"offset": 0}), "entry 'a.onnx' begins at byte 0"),
        (with_part(1, central={"name_len": 60000}), "entry 1 is named"),
        (with_part(1, central={"signature": b"PK\1\3"}), "has no record where entry 1 should be"),
        # Contents that are not what the manifest names.
        (with_part(1, data=b"a model!"), "has 8 bytes, its manifest says 7"),
        (with_part(1, data=b"a mOdel"), "a.onnx: SHA-256"),
        (with_part(1, both={"crc32": 1}), "does not have its checksum"),
        (with_part(0, data=b"{}"), "manifest.json: "),
    ],
)
def test_a_hostile_entry_is_refused_and_named(parts: list[Part], problem: str):
    with pytest.raises(BundleError) as caught:
        read_all(archive(parts))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda: archive(PARTS, prefix=b"#!/bin/sh\n"), "begins at byte 10, where 0 is expected"),
        (lambda: b"#!/bin/sh\n" + archive(PARTS), "bytes where its records account for"),
        (lambda: archive(PARTS, gap=b"\0" * 5), "between its entries and its directory"),
        (lambda: archive(PARTS, suffix=b"\0"), "something was appended"),
        (lambda: archive(PARTS, suffix=b"!", end={"comment_len": 1}), "something was appended"),
        (lambda: archive(PARTS, end={"comment_len": 1}), "has a comment at its end"),
        (lambda: archive(PARTS) + archive(PARTS), "bytes where its records account for"),
        (lambda: archive(PARTS)[:-1], "does not end as a packed bundle does"),
        (lambda: b"", "does not end as a packed bundle does"),
        (lambda: b"PK\5\6" + bytes(18), "says that it has 0 entries"),
        (lambda: archive(PARTS, end={"disk": 1}), "is one of several disks"),
        (lambda: archive(PARTS, end={"cd_disk": 1}), "is one of several disks"),
        (lambda: archive(PARTS, end={"n_here": 3}), "is one of several disks"),
        (lambda: archive(PARTS, end={"n_here": 0xFFFF, "n_total": 0xFFFF}), "says that it has 65535 entries"),
        (lambda: archive(PARTS, end={"n_here": 5, "n_total": 5}), "its directory ends before entry 4"),
        (lambda: archive(PARTS, end={"n_here": 3, "n_total": 3}), "between its entries and its directory"),
        (lambda: archive(PARTS, end={"cd_size": 0xFFFFFFFF}), "says that its directory has 4294967295 bytes"),
        (lambda: archive(PARTS, end={"cd_offset": 0xFFFFFFFF}), "bytes where its records account for"),
        (overlapping, "entry 'b.onnx' begins at byte"),
    ],
)
def test_a_hostile_file_is_refused_and_named(change: Callable[[], bytes], problem: str):
    with pytest.raises(BundleError) as caught:
        read_all(change())
    assert problem in str(caught.value)


def test_a_bomb_of_64_bit_lengths_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed, packed.open("manifest.json", "w", force_zip64=True) as entry:
        entry.write(MANIFEST)
    with pytest.raises(BundleError, match=r"has the mode|extra field"):
        read_all(buffer.getvalue())


@pytest.mark.parametrize("n_bytes", [1 << 20, 1 << 24])
def test_what_zip_writes_by_itself_is_refused_without_being_inflated(n_bytes: int):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("manifest.json", bytes(n_bytes))
    tracemalloc.start()
    with pytest.raises(BundleError, match=r"is compressed|at most"):
        read_all(buffer.getvalue())
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1 << 20


@pytest.mark.parametrize(
    "data",
    [
        archive(with_part(0, both={"size": 1 << 31, "compressed": 1 << 31})),
        archive(with_part(1, both={"size": 1 << 31, "compressed": 1 << 31})),
        archive(with_part(1, local={"name_len": 60000, "extra_len": 60000})),
        archive(with_part(1, central={"name_len": 60000, "extra_len": 60000, "comment_len": 60000})),
        archive(PARTS, end={"cd_size": 1 << 31, "cd_offset": 0}),
        archive(PARTS, end={"n_here": 65535, "n_total": 65535}),
    ],
)
def test_no_more_is_asked_for_than_a_limit_allows_whatever_the_file_says(data: bytes):
    file = Asked(data)
    with pytest.raises(BundleError):
        PackedBundle(file)
    assert file.most <= max(MAX_DIRECTORY_BYTES, len(MANIFEST))


def test_a_file_larger_than_any_bundle_is_refused_unread(tmp_path: Path):
    path = tmp_path / "large.bundle"
    path.touch()
    os.truncate(path, MAX_BUNDLE_BYTES + 1)
    with pytest.raises(BundleError, match=r"large\.bundle: has 1073741825 bytes; at most"), open_packed(path):
        pass


def test_a_file_that_shrinks_while_it_is_read_is_refused():
    file = io.BytesIO(archive(PARTS))
    bundle = PackedBundle(file)
    file.truncate(200)
    with pytest.raises(AlteredError):
        b"".join(bundle.chunks(bundle_files(bundle.manifest)[0]))


@pytest.mark.parametrize(
    ("chunks", "problem"),
    [
        ([MODEL, b"more"], "11 or more bytes, its manifest says 7"),
        ([MODEL[:3]], "3 bytes, its manifest says 7"),
        ([], "0 bytes, its manifest says 7"),
        ([b"a mOdel"], "SHA-256"),
    ],
)
def test_content_is_compared_with_the_manifest_while_it_is_passed_on(chunks: list[bytes], problem: str):
    file = bundle_files(msgspec.json.decode(MANIFEST, type=type(classification_manifest())))[0]
    passed: list[bytes] = []
    with pytest.raises(AlteredError, match=problem):
        passed.extend(verified(chunks, file))
    assert b"more" not in passed


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match="is no plain file"), open_packed(tmp_path / "pipe"):
        pass


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_is_not_there_or_no_file_is_told(tmp_path: Path, name: str):
    with pytest.raises(BundleError, match=name if name == "missing" else "no plain file"), open_packed(tmp_path / name):
        pass
