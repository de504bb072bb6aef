"""An update file is read in its one form only; what lies in it is for TUF to judge."""

import io
import os
import zlib
from pathlib import Path

import pytest

from broker.messages import BundleRef
from edge_agent.bundle_layout import Entry, closing, local_header
from edge_agent.errors import BundleError
from edge_agent.update_file import HINT_NAME, MAX_ENTRIES, UpdateFile, encode_hint, open_update

HINT = encode_hint(BundleRef("toy", 3))


def packed(*files: tuple[str, bytes]) -> bytes:
    data, entries = b"", []
    for name, content in files:
        entry = Entry(name, len(content), zlib.crc32(content), len(data))
        data += local_header(entry) + content
        entries.append(entry)
    return data + closing(entries)


def test_files_are_found_by_name():
    update = UpdateFile(io.BytesIO(packed((HINT_NAME, HINT), ("metadata/1.root.json", b"root"))))
    assert update.bundle == BundleRef("toy", 3)
    chunks = update.chunks("metadata/1.root.json")
    assert chunks is not None
    assert b"".join(chunks) == b"root"
    assert update.chunks("metadata/2.root.json") is None


@pytest.mark.parametrize(
    "name",
    ["../root.json", "metadata/../../x.json", "/metadata/x.json", "metadata/.x.json", "metadata/x", "targets/a/b", "x"],
)
def test_other_names_are_refused(name: str):
    with pytest.raises(BundleError, match="is named"):
        UpdateFile(io.BytesIO(packed((HINT_NAME, HINT), (name, b"x"))))


@pytest.mark.parametrize(
    "hint",
    [
        b"{}",
        b"no json",
        b"\xff",
        b"[" * 4000,
        b'{"format":1,"name":"toy","version":0}',
        b'{"format":1,"name":"","version":1}',
        b'{"format":2,"name":"toy","version":1}',
    ],
)
def test_a_hint_that_is_none_is_refused(hint: bytes):
    with pytest.raises(BundleError, match=HINT_NAME):
        UpdateFile(io.BytesIO(packed((HINT_NAME, hint))))


def test_the_hint_comes_first_and_is_small():
    with pytest.raises(BundleError, match="comes first"):
        UpdateFile(io.BytesIO(packed(("metadata/1.root.json", b"root"), (HINT_NAME, HINT))))
    with pytest.raises(BundleError, match="at most 4096"):
        UpdateFile(io.BytesIO(packed((HINT_NAME, HINT + b" " * 5000))))


def test_a_header_that_says_other_things_than_the_directory_is_refused():
    data = bytearray(packed((HINT_NAME, HINT), ("metadata/1.root.json", b"root")))
    data[data.index(b"metadata/")] = ord("M")
    with pytest.raises(BundleError, match="its header says other things"):
        UpdateFile(io.BytesIO(bytes(data)))


def test_too_many_entries_are_refused_unread():
    files = [(f"metadata/{number}.root.json", b"x") for number in range(1, MAX_ENTRIES + 1)]
    with pytest.raises(BundleError, match=f"at most {MAX_ENTRIES}"):
        UpdateFile(io.BytesIO(packed((HINT_NAME, HINT), *files)))


@pytest.mark.parametrize("cut", [1, 22, 100])
def test_a_file_that_is_cut_or_lengthened_is_refused_with_what_to_do(tmp_path: Path, cut: int):
    path = tmp_path / "x.update"
    good = packed((HINT_NAME, HINT), ("metadata/1.root.json", b"root"))
    for data in (good[:-cut], good + b"x" * cut, b""):
        path.write_bytes(data)
        with pytest.raises(BundleError, match="fieldloop repository export"), open_update(path):
            pass


def test_what_is_no_plain_file_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BundleError), open_update(path):
            pass
