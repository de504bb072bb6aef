"""A card of Debian's kernel and busybox starts under QEMU, by the command that people type."""

import lzma
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.tiny_card import CARD_BYTES, tiny_card
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
BOOT_S = 200.0
COMMAND = (sys.executable, "-P", "-m", "trainer.cli", "image", "boot")


class Console:
    """A terminal, and ``fieldloop image boot`` on it."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self._said = b""

    @property
    def text(self) -> str:
        try:
            while said := os.read(self._ours, 65536):
                self._said += said
        except (BlockingIOError, OSError):
            pass
        return self._said.decode(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        is_over = self.process.poll
        wait_until(lambda: re.search(pattern, self.text) or is_over() is not None, BOOT_S, f"it says {pattern}")
        found = re.search(pattern, self.text)
        assert found is not None, self.text
        return found

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        os.close(self._ours)


@contextmanager
def booted(*arguments: str) -> Iterator[Console]:
    console = Console(*arguments)
    try:
        yield console
    finally:
        console.process.terminate()
        console.process.wait(30)
        console.close()


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_card(), tmp_path / "card.img"))


def test_an_image_starts_on_the_terminal_and_keeps_what_it_wrote_beside_it(card: Path):
    before = card.read_bytes()
    port = free_port()
    with booted(str(card), "--forward", f"{port}:80") as console:
        assert "Ctrl-A X ends it" in console.wait_for("card.img on virt.*")[0]
        console.wait_for("tiny: command line console=ttyAMA0 quiet")
        console.wait_for(f"start 1 from /dev/vda2, {(1 << 27) // 512} sectors")
        console.wait_for("tiny: serves")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/starts", timeout=20) as answer:
            assert answer.read() == b"1\n"
        console.type(b"hello\r")
        console.wait_for("tiny: heard hello")
        console.type(b"\x01x")
        assert console.process.wait(30) == 0
    with booted(str(card)) as console:
        console.wait_for("start 2 from")
        console.process.send_signal(signal.SIGTERM)
        assert console.process.wait(30) == 0
    assert card.read_bytes() == before
    os.utime(card, (1, 1))
    done = subprocess.run([*COMMAND, str(card)], check=False, capture_output=True, text=True)
    assert done.returncode == 17
    assert "begin anew with --fresh" in done.stderr
    with booted(str(card), "--fresh") as console:
        console.wait_for("start 1 from")


def test_what_a_board_wrote_to_its_boot_partition_is_what_it_starts_from_next(card: Path, tmp_path: Path):
    with booted(str(card), "--no-reboot") as console:
        console.wait_for("tiny: serves")
        console.type(b"restart\r")
        assert console.process.wait(60) == 0
    line = b"console=tty0 console=ttyS1,115200 quiet\n"
    changed = tmp_path / "line"
    changed.write_bytes(line.replace(b"quiet", b"loose"))
    order = f"write -s {changed} {card.read_bytes().index(line)} {len(line)}"
    overlay = tmp_path / "card.img.card" / "card.qcow2"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", order, str(overlay)], check=True, capture_output=True)
    with booted(str(card)) as console:
        console.wait_for("tiny: command line console=ttyAMA0 loose")
        console.wait_for("start 2 from")
        console.type(b"restart\r")
        console.wait_for("start 3 from")
    assert [path.name for path in overlay.parent.iterdir() if path.is_dir()] == []


def test_a_snapshot_keeps_nothing_and_an_image_that_may_be_written_to_keeps_all(card: Path, tmp_path: Path):
    before = card.read_bytes()
    packed = tmp_path / "packed.img.xz"
    packed.write_bytes(lzma.compress(before, preset=0))
    with booted(str(packed), "--snapshot") as console:
        console.wait_for("start 1 from")
        console.wait_for("tiny: serves")
    assert not (tmp_path / "packed.img.xz.card" / "card.qcow2").exists()
    with booted(str(card), "--write", "--memory", "256", "--cpus", "1") as console:
        console.wait_for(f"start 1 from /dev/vda2, {CARD_BYTES // 512} sectors")
        # It has synced what it wrote.
        console.wait_for("tiny: serves")
    assert card.read_bytes() != before


def test_a_raspberry_pi_starts_from_the_cards_own_device_tree(card: Path):
    with booted(str(card), "--machine", "raspi3b", "--snapshot", "--append", "tiny.more") as console:
        console.wait_for(r"console=ttyS1,115200 quiet module_blacklist=vchiq systemd\.watchdog_sec=0 tiny\.more")
        console.wait_for("start 1 from /dev/mmcblk0p2")
        console.wait_for("tiny: serves on usb0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--machine", "raspi3b", "--write"), "truncate --size 134217728"),
        (("--machine", "raspi9"), "there are virt, raspi3b"),
        (("--forward", "80"), "no pair of ports"),
    ],
)
def test_what_cannot_be_started_is_refused_with_what_to_do(card: Path, arguments: tuple[str, ...], said: str):
    done = subprocess.run([*COMMAND, str(card), *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 17
    assert said in done.stderr


def test_a_missing_qemu_is_named_with_its_package(card: Path):
    code = (
        "import shutil, trainer.cli.application as a\n"
        "which = shutil.which\n"
        "shutil.which = lambda name, **k: None if name.startswith('qemu') else which(name, **k)\n"
        f"a.main(['image', 'boot', {str(card)!r}])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 17
    assert "qemu-system-aarch64 is missing: sudo apt-get install" in done.stderr
    assert "qemu-system-arm" in done.stderr


def test_of_a_board_that_is_killed_nothing_is_left(card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    with booted(str(card), "--snapshot") as console:
        console.wait_for("start 1 from")
        assert "qemu-system" in Path(f"/proc/{console.process.pid}/cmdline").read_text()
        assert list(folder.iterdir()) == []
        console.process.kill()
        console.process.wait(30)
    assert list(folder.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.img", "temporary"]
