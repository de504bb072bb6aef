"""A package's bytes follow from its entries and its time, and dpkg's own tools read them."""

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from scripts.deb.archive import Entry, debian_package, installed_kb, md5sums

CONTROL = (Entry("control", b"Package: x\nVersion: 1\nArchitecture: all\nMaintainer: m <m@x>\nDescription: d\n"),)
CONTENTS = (
    Entry("usr/bin/x", b"#!/bin/sh\n", 0o755),
    Entry("etc/x", None, 0o750),
    Entry("usr/share/doc/x/copyright", b"free" * 300),
)


def members(package: bytes) -> dict[str, bytes]:
    """Take an ar archive apart."""
    assert package.startswith(b"!<arch>\n")
    found, at = {}, 8
    while at < len(package):
        name, size = package[at : at + 16].decode().strip(), int(package[at + 48 : at + 58])
        found[name] = package[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    return found


def test_the_order_in_which_entries_come_changes_no_byte():
    package = debian_package(CONTROL, CONTENTS, 1_790_000_001)
    assert debian_package(CONTROL, CONTENTS[::-1], 1_790_000_001) == package
    assert debian_package(CONTROL, CONTENTS, 1_790_000_002) != package


def test_every_file_is_root_s_of_one_time_and_every_folder_is_there():
    data = members(debian_package(CONTROL, CONTENTS, 1_790_000_001))["data.tar.xz"]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {member.name: member for member in tar}
    assert list(found) == sorted(found)
    assert {m.mtime for m in found.values()} == {1_790_000_001}
    assert {(m.uid, m.gid, m.uname, m.gname) for m in found.values()} == {(0, 0, "root", "root")}
    modes = {name: (m.isdir(), m.mode) for name, m in found.items()}
    assert modes["./usr/bin/x"] == (False, 0o755)
    assert modes["./etc/x"] == (True, 0o750)
    assert modes["./usr/share/doc/x"] == modes["./etc"] == (True, 0o755)


@pytest.mark.parametrize("path", ["/etc/passwd", "usr/../../etc/passwd", "usr/bin/x"])
def test_a_path_that_leads_outside_or_is_there_twice_is_refused(path: str):
    with pytest.raises(ValueError, match="leads outside"):
        debian_package(CONTROL, (*CONTENTS, Entry(path, b"")), 0)


def test_checksums_and_size_are_those_of_the_files():
    lines = md5sums(CONTENTS).decode().splitlines()
    assert lines == [
        f"{hashlib.md5(e.data, usedforsecurity=False).hexdigest()}  {e.path}"
        for e in sorted(CONTENTS)
        if e.data is not None
    ]
    # Two files of one and two KiB; etc, usr and the four below it.
    assert installed_kb(CONTENTS) == 1 + 2 + 6


def test_dpkg_takes_it_apart(tmp_path: Path):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb here")
    package = tmp_path / "x.deb"
    package.write_bytes(debian_package(CONTROL, CONTENTS, 1_790_000_001))
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tmp_path / "x")], check=True)
    assert (tmp_path / "x" / "DEBIAN" / "control").read_bytes() == CONTROL[0].data
    assert (tmp_path / "x" / "usr" / "bin" / "x").read_bytes() == CONTENTS[0].data
