"""The command on real block devices: loop devices with file systems of their own. It needs root, as flashing does."""

import hashlib
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until

MIB = 1 << 20
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
TOOLS = ("losetup", "mke2fs", "sfdisk", "mount", "e2fsck")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root"),
    pytest.mark.skipif(
        any(shutil.which(tool, path=PATH) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}"
    ),
]


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        text=True,
        capture_output=True,
        check=options.pop("check", True),
        env={**os.environ, "PATH": PATH},
        **options,
    )


def fieldloop(*arguments: object, check: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-P", "-m", "trainer.cli", "image", *arguments, check=check, **options)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with a table of partitions and an ext4 that holds a file."""
    folder = tmp_path_factory.mktemp("image")
    files, system, whole = folder / "files", folder / "root.ext4", folder / "card.img"
    files.mkdir()
    (files / "hostname").write_text("sensor-17\n")
    (files / "model.onnx").write_bytes(os.urandom(3 * MIB))
    run("mke2fs", "-q", "-t", "ext4", "-d", files, "-L", "rootfs", system, "24M")
    with whole.open("wb") as file:
        file.truncate(32 * MIB)
    run("sfdisk", "-q", whole, input="label: dos\nstart=4MiB, size=24MiB, type=83\n")
    with whole.open("r+b") as file:
        file.seek(4 * MIB)
        file.write(system.read_bytes())
    return whole


class Loop:
    """A loop device over a file."""

    def __init__(self, backing: Path, size: int) -> None:
        with backing.open("wb") as file:
            # What a used card holds.
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        self.backing = backing
        self.path = run("losetup", "--find", "--show", "--partscan", backing).stdout.strip()

    def detach(self) -> None:
        run("losetup", "--detach", self.path, check=False)


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path / "card", 40 * MIB)
    yield loop
    loop.detach()


def partition_is_sound(backing: Path, folder: Path) -> bool:
    system = folder / "read.ext4"
    system.write_bytes(backing.read_bytes()[4 * MIB : 28 * MIB])
    return run("e2fsck", "-fn", system, check=False).returncode == 0


@pytest.mark.parametrize("packing", ["raw", "zst", "xz"])
def test_a_card_holds_the_image_and_its_file_system_is_sound(tmp_path: Path, image: Path, card: Loop, packing: str):
    source = image
    if packing == "xz":
        source = tmp_path / "card.img.xz"
        source.write_bytes(lzma.compress(image.read_bytes(), preset=1))
    elif packing == "zst":
        if shutil.which("zstd") is None:
            pytest.skip("zstd is not installed")
        source = tmp_path / "card.img.zst"
        run("zstd", "-q", "-3", image, "-o", source)
    done = fieldloop("flash", source, card.path, "--allow-fixed-disk", "--yes", "--json", check=True)
    told = json.loads(done.stdout)
    raw = image.read_bytes()
    assert told["sha256"] == hashlib.sha256(raw).hexdigest()
    run("blockdev", "--flushbufs", card.path)
    assert card.backing.read_bytes()[: len(raw)] == raw
    assert partition_is_sound(card.backing, tmp_path)


def test_a_loop_device_is_listed_and_needs_insistence(image: Path, card: Loop):
    listed = {disk["path"]: disk for disk in json.loads(fieldloop("disks", "--json", check=True).stdout)}
    assert listed[card.path]["size_bytes"] == 40 * MIB
    assert "--allow-fixed-disk" in listed[card.path]["refused"]
    refused = fieldloop("flash", image, card.path, "--yes")
    assert refused.returncode == 13
    assert "cannot be taken out" in refused.stderr


def test_a_mounted_card_is_refused_with_the_place_it_is_mounted_at(tmp_path: Path, image: Path):
    loop, place = Loop(tmp_path / "mounted", 33 * MIB), tmp_path / "place"
    place.mkdir()
    try:
        run("mke2fs", "-q", "-F", "-t", "ext4", loop.path)
        run("mount", loop.path, place)
        refused = fieldloop("flash", image, loop.path, "--allow-fixed-disk", "--yes")
        assert refused.returncode == 13
        assert f"is mounted at {place}: unmount it first" in refused.stderr
    finally:
        run("umount", place, check=False)
        loop.detach()


def test_a_card_that_is_too_small_is_refused_before_anything_is_written(tmp_path: Path, image: Path):
    loop = Loop(tmp_path / "small", 31 * MIB)
    try:
        before = loop.backing.read_bytes()
        refused = fieldloop("flash", image, loop.path, "--allow-fixed-disk", "--yes")
        assert refused.returncode == 13
        assert "is too small: 32.5 MB, the image has 33.6 MB" in refused.stderr
        assert loop.backing.read_bytes() == before
    finally:
        loop.detach()


def test_no_is_an_answer(image: Path, card: Loop):
    before = card.backing.read_bytes()
    refused = fieldloop("flash", image, card.path, "--allow-fixed-disk", input="n\n")
    assert refused.returncode == 1
    assert f"Everything on {card.path}, 41.9 MB will be lost" in refused.stderr
    assert card.backing.read_bytes() == before


def test_a_disk_with_bad_blocks_is_told_with_the_place_and_starts_nothing(tmp_path: Path):
    """The backing file lies in a file system that is full before the image is: the kernel answers with EIO."""
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", tiny)
    backing = tiny / "card"
    with backing.open("wb") as file:
        file.truncate(40 * MIB)
    path = run("losetup", "--find", "--show", backing).stdout.strip()
    try:
        packed = tmp_path / "noise.img"
        noise = bytearray(os.urandom(32 * MIB))
        noise[510:512] = b"\x55\xaa"
        packed.write_bytes(noise)
        failed = fieldloop("flash", packed, path, "--allow-fixed-disk", "--yes")
        assert failed.returncode == 14, failed.stderr
        assert "the disk cannot" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert backing.read_bytes()[510:512] != b"\x55\xaa"
    finally:
        run("losetup", "--detach", path, check=False)
        run("umount", "--lazy", tiny, check=False)


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGTERM])
def test_ended_in_the_middle_the_card_starts_nothing_and_the_next_try_makes_it_whole(
    tmp_path: Path, image: Path, card: Loop, signal_: signal.Signals
):
    raw = image.read_bytes()
    source = tmp_path / "half.img"
    source.write_bytes(raw)
    command = [sys.executable, "-P", "-m", "trainer.cli", "image", "flash", str(source), card.path]
    with subprocess.Popen(
        [*command, "--allow-fixed-disk", "--yes", "--json"],
        env={**os.environ, "PATH": PATH},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_until(
            lambda: card.backing.read_bytes()[510:512] != raw[510:512] or process.poll() is not None, 30, "begun"
        )
        wait_until(lambda: card.backing.read_bytes()[:10] == b'{"fieldloo' or process.poll() is not None, 30, "noted")
        process.send_signal(signal_)
    if process.returncode != 0:
        assert card.backing.read_bytes()[510:512] != b"\x55\xaa"
    fieldloop("flash", source, card.path, "--allow-fixed-disk", "--yes", check=True)
    run("blockdev", "--flushbufs", card.path)
    assert card.backing.read_bytes()[: len(raw)] == raw


def test_a_file_may_stand_for_a_card(tmp_path: Path, image: Path):
    done = fieldloop("flash", image, tmp_path / "copy.img", "--yes")
    assert done.returncode == 0, done.stderr
    assert "read back and right" in done.stdout
    assert (tmp_path / "copy.img").read_bytes() == image.read_bytes()


def test_a_partition_is_refused(image: Path, card: Loop):
    fieldloop("flash", image, card.path, "--allow-fixed-disk", "--yes", check=True)
    run("blockdev", "--rereadpt", card.path, check=False)
    partition = Path(f"{card.path}p1")
    if not partition.exists():
        pytest.skip("this kernel shows no partitions of loop devices")
    refused = fieldloop("flash", image, partition, "--allow-fixed-disk", "--yes")
    assert refused.returncode == 13
    assert "not a partition" in refused.stderr
