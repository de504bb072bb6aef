"""The machines that QEMU has for a card's image, and which of them stands for which board."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from exporter.image.emulation.errors import EmulationError

MachineName: TypeAlias = Literal["virt", "raspi3b"]


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of QEMU.

    Attributes:
        kernel_console: what the kernel calls the port that the console is on.
        device_tree: file on the boot partition; None: QEMU makes its own.
        sections: conditional filters of config.txt that apply to it.
        memory_mib: fixed by the board; None: to choose.
        cpus: as above.
        has_power_button: the guest can be asked to stop.
    """

    name: MachineName
    kernel_console: str
    device_tree: str | None
    sections: frozenset[str]
    memory_mib: int | None
    cpus: int | None
    has_power_button: bool


MACHINES: Final[dict[MachineName, Machine]] = {
    "virt": Machine("virt", "ttyAMA0", None, frozenset({"all"}), None, None, has_power_button=True),
    "raspi3b": Machine(
        "raspi3b",
        "ttyS1,115200",
        "bcm2837-rpi-3-b.dtb",
        frozenset({"all", "pi3"}),
        1024,
        4,
        has_power_button=False,
    ),
}
# What `farm up --board` takes. QEMU 7.2 has no other 64-bit board of the family.
BOARDS: Final[dict[str, MachineName]] = {"pi3": "raspi3b", "virt": "virt"}


def find_machine(name: str) -> Machine:
    """Return a machine by its own name.

    Raises:
        EmulationError: there is none of that name.
    """
    machine = next((each for each in MACHINES.values() if each.name == name), None)
    if machine is None:
        raise EmulationError(f"no machine is called {name!r}: there are {', '.join(MACHINES)}")
    return machine


def machine_of_board(board: str) -> Machine:
    """Return the machine that stands for a board.

    Raises:
        EmulationError: QEMU has none for it.
    """
    name = BOARDS.get(board)
    if name is None:
        raise EmulationError(
            f"QEMU emulates no {board!r}: --board pi3 is a Raspberry Pi 3B, --board virt a faster machine "
            "that runs the image of any 64-bit board"
        )
    return MACHINES[name]
