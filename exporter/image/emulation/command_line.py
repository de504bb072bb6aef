"""Writes QEMU's command line for a card: a pure function."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from exporter.image.emulation.boot_files import BootFiles
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.machines import Machine

PROGRAM: Final = "qemu-system-aarch64"
# In the folder of a board that runs in the background.
CONSOLE_SOCKET: Final = "console.sock"
CONSOLE_LOG: Final = "console.log"
MONITOR_SOCKET: Final = "monitor.sock"
PID_FILE: Final = "qemu.pid"
DEFAULT_MEMORY_MIB: Final = 1024
DEFAULT_CPUS: Final = 2
_PORTS: Final = range(1, 1 << 16)

Console: TypeAlias = Literal["terminal", "socket"]


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of this machine's loopback that leads to one of the guest."""

    host_port: int
    guest_port: int

    def __str__(self) -> str:
        return f"{self.host_port}:{self.guest_port}"


@dataclass(frozen=True, slots=True)
class Card:
    """The disk that a machine starts from.

    Attributes:
        path: absolute.
        snapshot: nothing of what the guest writes is kept.
    """

    path: Path
    form: Literal["raw", "qcow2"]
    snapshot: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """All that a start is made of.

    Attributes:
        console: ``terminal``, with the monitor behind Ctrl-A C; ``socket``: in the background, logged, in the
            board's own folder.
        memory_mib, cpus: None: the machine's own, or the default.
        reboots: a restart of the guest starts it again; else QEMU ends.
    """

    machine: Machine
    files: BootFiles
    card: Card
    forwards: tuple[Forward, ...] = ()
    console: Console = "terminal"
    memory_mib: int | None = None
    cpus: int | None = None
    reboots: bool = True


def parse_forward(text: str) -> Forward:
    """Parse ``HOST:GUEST``, two ports of TCP.

    Raises:
        EmulationError: it is something else.
    """
    host, _, guest = text.partition(":")
    if not (host.isascii() and host.isdecimal() and guest.isascii() and guest.isdecimal()) or not (
        int(host) in _PORTS and int(guest) in _PORTS
    ):
        raise EmulationError(
            f"{text!r} is no pair of ports: 8080:80 leads from 8080 of this machine to 80 of the board"
        )
    return Forward(int(host), int(guest))


def qemu_arguments(start: Start) -> list[str]:
    """Return the arguments of `PROGRAM`.

    Raises:
        EmulationError: the machine cannot have so much memory, or so many processors; or does not run this kernel.
    """
    machine, files = start.machine, start.files
    if files.is_32bit and machine.name == "raspi3b":
        raise EmulationError("raspi3b starts with 64 bits only, and this kernel has 32: take --machine virt")
    # Debian's kernel for 32 bits cannot reach what lies above 4 GiB.
    arguments = ["-machine", "virt,highmem=off" if files.is_32bit else machine.name, "-display", "none"]
    arguments += ["-m", str(_fixed(machine, "memory", "MiB", machine.memory_mib, start.memory_mib, DEFAULT_MEMORY_MIB))]
    arguments += ["-smp", str(_fixed(machine, "processors", "", machine.cpus, start.cpus, DEFAULT_CPUS))]
    arguments += ["-kernel", str(files.kernel), "-append", files.arguments]
    if files.initrd is not None:
        arguments += ["-initrd", str(files.initrd)]
    if files.device_tree is not None:
        arguments += ["-dtb", str(files.device_tree)]
    arguments += _devices(start)
    arguments += _consoles(start)
    return arguments if start.reboots else [*arguments, "-no-reboot"]


def _devices(start: Start) -> list[str]:
    card = start.card
    # A comma would begin another option: QEMU wants it doubled.
    drive = f"format={card.form},file={str(card.path).replace(',', ',,')}" + (",snapshot=on" if card.snapshot else "")
    network = ",".join(
        ["user,id=net", *(f"hostfwd=tcp:127.0.0.1:{f.host_port}-:{f.guest_port}" for f in start.forwards)]
    )
    if start.machine.name == "raspi3b":
        return ["-drive", f"if=sd,{drive}", "-netdev", network, "-device", "usb-net,netdev=net"]
    # Without a ROM to start from the network, which would be one package more.
    return [
        *("-cpu", "cortex-a15" if start.files.is_32bit else "cortex-a53"),
        *("-drive", f"if=none,id=card,{drive}", "-device", "virtio-blk-pci,drive=card"),
        *("-netdev", network, "-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-rng-pci"),
    ]


def _consoles(start: Start) -> list[str]:
    # The first port of a Pi is the one that Bluetooth takes on a board; its kernel talks on the second.
    before = ["-serial", "null"] if start.machine.name == "raspi3b" else []
    if start.console == "terminal":
        return [*before, "-serial", "mon:stdio"]
    return [
        *("-chardev", f"socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off,logfile={CONSOLE_LOG},logappend=on"),
        *before,
        *("-serial", "chardev:console", "-monitor", "none"),
        *("-qmp", f"unix:{MONITOR_SOCKET},server=on,wait=off"),
        *("-daemonize", "-pidfile", PID_FILE),
    ]


def _fixed(machine: Machine, what: str, unit: str, fixed: int | None, asked: int | None, default: int) -> int:
    if fixed is None:
        return default if asked is None else asked
    if asked not in {None, fixed}:
        raise EmulationError(f"{machine.name} has {fixed} {unit}{' ' if unit else ''}{what}, not {asked}: take virt")
    return fixed
