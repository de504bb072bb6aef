"""One emulated board with a card of its own, whose power can be cut, and whose file systems can be looked at."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from edge_agent.clock import SystemClock
from exporter.image.emulation.boot_files import extract_boot_files
from exporter.image.emulation.command_line import CONSOLE_LOG, CONSOLE_SOCKET, Card, Forward, Start
from exporter.image.emulation.machines import MACHINES, MachineName
from exporter.image.emulation.overlay import prepare_overlay
from exporter.image.emulation.partitions import load_partitions
from exporter.image.emulation.process import Process, connected, cut_power, start_in_background
from tests.waiting import wait_until

# Of the partitions of a card; they begin and end on a boundary of 4 MiB.
DATA: Final = 3
STOP_S: Final = 200.0
AGENT_STATE: Final = "/fieldloop"
# A shell of root's on the console, which systemd opens for whoever can say so to the kernel.
SHELL: Final[dict[MachineName, str]] = {
    "virt": "systemd.debug_shell=ttyAMA0",
    "raspi3b": "systemd.debug_shell=ttyS1",
}
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_BLOCK_BYTES: Final = 1 << 20
# What a system knows of a start that came to nothing. Its console is silent: an image's kernel is told to be quiet.
_ACCOUNT: Final = (
    "export SYSTEMD_COLORS=0",
    "cat /proc/uptime",
    "systemctl --failed --no-pager --plain",
    "systemctl list-jobs --no-pager",
    "networkctl --no-pager",
    "journalctl -b -p warning --no-pager -o short-monotonic | tail -n 60",
    "journalctl -b -u fieldloop-agent --no-pager -o short-monotonic | tail -n 30",
)
_CLOCK: Final = SystemClock()


class Board:
    """A board; `remove` it.

    Attributes:
        starts: how often it was started.
    """

    def __init__(
        self,
        folder: Path,
        image: Path,
        machine: MachineName,
        forwards: tuple[Forward, ...] = (),
        *,
        restarts: bool = True,
    ) -> None:
        """Put a card of the image into it; it is not started yet.

        Args:
            folder: is made.
            image: of the card.
            machine: that stands for the board.
            forwards: ports of this machine that lead to it.
            restarts: when its system does; else it is switched off then.
        """
        self.folder = folder
        self._forwards, self._restarts = forwards, restarts
        self.machine = MACHINES[machine]
        folder.mkdir(parents=True)
        boot = folder / "boot"
        boot.mkdir()
        self._files = extract_boot_files(image, self.machine, boot.resolve().joinpath, SHELL[machine])
        self._card = prepare_overlay(image, folder).resolve()
        self._process: Process | None = None
        self.starts = 0
        self._commands = 0

    def start(self) -> None:
        """Switch it on."""
        start = Start(
            self.machine,
            self._files,
            Card(self._card, "qcow2"),
            self._forwards,
            console="socket",
            memory_mib=self.machine.memory_mib,
            reboots=self._restarts,
        )
        self._process = start_in_background(start, self.folder)
        self.starts += 1

    def cut_power(self) -> None:
        """Switch it off between two instructions."""
        if self._process is not None:
            cut_power(self._process, _CLOCK)

    @property
    def is_on(self) -> bool:
        """It runs."""
        return self._process is not None and self._process.is_running

    def stop(self) -> bool:
        """Have it stop as a system does; return whether it did."""
        process = self._process
        assert process is not None
        try:
            # Not `systemctl poweroff`: that asks the daemon for logins, which a card does not have.
            self._type("systemctl start poweroff.target", lambda: not process.is_running, STOP_S)
        except AssertionError:
            return False
        return True

    def run(self, command: str, timeout_s: float = 120.0) -> str:
        """Run a command as root, and return what it printed."""
        self._commands += 1
        mark = f"{self.starts}-{self._commands}"
        # Typed in two pieces: the console also shows what was typed.
        pattern = re.compile(rf"BEGIN-{mark}\r?\n(.*)END-{mark}", re.DOTALL)
        line = f"echo BE''GIN-{mark}; {command}; echo E''ND-{mark}"
        self._type(line, lambda: pattern.search(self.console), timeout_s)
        found = pattern.search(self.console)
        assert found is not None
        return found[1].replace("\r\n", "\n")

    def _type(self, line: str, is_done: Callable[[], object], timeout_s: float) -> None:
        """Type a line, and hold the terminal until it is done: QEMU forgets what its guest has not read by then.

        What the board says is taken meanwhile, though its log has it too: a guest whose terminal nobody reads stands
        still after some three hundred bytes.
        """
        with connected(self.folder, CONSOLE_SOCKET) as link:
            link.sendall(f"{line}\r".encode())
            link.setblocking(False)

            def is_done_and_read() -> object:
                with contextlib.suppress(BlockingIOError):
                    while link.recv(_BLOCK_BYTES):
                        pass
                return is_done()

            wait_until(is_done_and_read, timeout_s, lambda: f"{line} is done; {self.console[-500:]}")

    def remove(self) -> None:
        """Throw it away."""
        self.cut_power()
        shutil.rmtree(self.folder)

    @property
    def console(self) -> str:
        """What it said, of all its starts."""
        log = self.folder / CONSOLE_LOG
        return log.read_text(errors="replace") if log.exists() else ""

    def account(self) -> str:
        """Return what it can tell of itself: what its system knows, or its last words if its shell does not answer."""
        if not self.is_on:
            return f"it is off; its last words: {self.console[-3000:]}"
        try:
            return f"its system knows:\n{self.run('; '.join(_ACCOUNT))}"
        except (AssertionError, OSError) as error:
            return f"its shell does not answer ({error}); its last words: {self.console[-3000:]}"

    def take_out(self, image: Path) -> Path:
        """Copy its card, which is not in use, into a raw image and return that."""
        done = _run("qemu-img", "convert", "-O", "raw", str(self._card), str(image))
        assert done.returncode == 0, done.stderr
        return image

    def damages(self) -> list[str]:
        """Look at a copy of its file systems as its next start finds them; return what is wrong with them.

        First the journal is replayed and what was deleted while open is let go, as every start does; then everything
        is checked, and nothing may be left to mend.
        """
        found = []
        for number, file in self._copies().items():
            replayed = _run("e2fsck", "-p", str(file))
            checked = _run("e2fsck", "-f", "-n", str(file))
            if replayed.returncode not in {0, 1} or checked.returncode:
                found.append(f"partition {number}: {replayed.stdout}{replayed.stderr}{checked.stdout}")
            file.unlink()
        return found

    def take_state(self, folder: Path) -> Path:
        """Copy what its agent keeps on the card into a folder, as its next start finds it, and return that."""
        copies = self._copies()
        place = str(copies[DATA])
        _run("e2fsck", "-p", place)
        done = _run("debugfs", "-R", f"rdump {AGENT_STATE} {folder}", place)
        for file in copies.values():
            file.unlink()
        assert done.returncode == 0, done.stderr
        return folder / AGENT_STATE.lstrip("/")

    def _copies(self) -> dict[int, Path]:
        """Copy its Linux partitions, each into a file of its own: e2fsck replays no journal at an offset."""
        raw = self.take_out(self.folder / "copy.img")
        files = {}
        with raw.open("rb") as source:
            for partition in load_partitions(raw):
                if not partition.is_fat:
                    files[partition.number] = file = self.folder / f"partition-{partition.number}"
                    source.seek(partition.start_bytes)
                    _copy(source, file, partition.size_bytes)
        raw.unlink()
        return files


def _copy(source: BinaryIO, target: Path, size_bytes: int) -> None:
    with target.open("wb") as file:
        for _ in range(0, size_bytes, _BLOCK_BYTES):
            block = source.read(_BLOCK_BYTES)
            if block.count(0) < len(block):
                file.write(block)
            else:
                file.seek(len(block), os.SEEK_CUR)
        file.truncate(size_bytes)


def _run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which(tool, path=_PATH)
    assert program is not None, tool
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True)
