import gzip
import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.image.build.initrd import make_initrd

MODULES = [("mbcache.ko", b"first"), ("ext4.ko.xz", lzma.compress(b"second"))]


def test_the_same_parts_give_the_same_bytes():
    assert make_initrd(b"box", MODULES, 1000) == make_initrd(b"box", MODULES, 1000)


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio")
def test_cpio_reads_what_the_kernel_gets(tmp_path: Path):
    archive = gzip.decompress(make_initrd(b"box", MODULES, 1000))
    subprocess.run(["cpio", "--extract", "--quiet", "--make-directories"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "bin" / "busybox").read_bytes() == b"box"
    assert (tmp_path / "bin" / "switch_root").readlink() == Path("busybox")
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "proc").is_dir()
    assert (tmp_path / "modules" / "order").read_text() == "mbcache.ko\next4.ko\n"
    assert (tmp_path / "modules" / "ext4.ko").read_bytes() == b"second"


def test_its_script_is_one_that_a_shell_reads():
    archive = gzip.decompress(make_initrd(b"box", MODULES, 1000))
    start = archive.index(b"#!/bin/sh")
    script = archive[start : archive.index(b'switch_root /root "$init"\n') + 27]
    subprocess.run(["sh", "-n"], input=script, check=True)
