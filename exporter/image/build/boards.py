"""The boards that images are built for: which device trees they need, which firmware, and which suites have both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from exporter.image.errors import BuildError

Architecture = Literal["arm64", "armhf"]
Suite = Literal["bookworm", "trixie"]

ARCHITECTURES: Final[tuple[Architecture, ...]] = get_args(Architecture)
SUITES: Final[tuple[Suite, ...]] = get_args(Suite)
# Of Python 3, as each has it.
PYTHON_MINORS: Final[Mapping[Suite, int]] = {"bookworm": 11, "trixie": 13}

# The firmware that a board's own memory loads from the card: bootcode.bin is the second stage of the first boards.
_FIRST: Final = ("bootcode.bin", "fixup.dat", "start.elf")
_FOURTH: Final = ("fixup4.dat", "start4.elf")
_FIFTH: Final[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """One board, or several that start from the same card.

    Attributes:
        title: as its maker writes it.
        trees: its device trees, as Linux names them; the firmware chooses among them.
        firmware: files of the package raspi-firmware.
        suites: whose kernel has the trees.
        imager_tag: its name in Raspberry Pi Imager's lists.
    """

    name: str
    title: str
    trees: tuple[str, ...]
    firmware: tuple[str, ...]
    imager_tag: str
    suites: tuple[Suite, ...] = SUITES
    architectures: tuple[Architecture, ...] = ARCHITECTURES


_ALL: Final = (
    Board(
        "pi3",
        "Raspberry Pi 3A+, 3B, 3B+",
        ("bcm2837-rpi-3-a-plus", "bcm2837-rpi-3-b", "bcm2837-rpi-3-b-plus"),
        _FIRST,
        "pi3-64bit",
    ),
    Board("zero2w", "Raspberry Pi Zero 2 W", ("bcm2837-rpi-zero-2-w",), _FIRST, "pi3-64bit"),
    Board("cm3", "Raspberry Pi Compute Module 3, 3+", ("bcm2837-rpi-cm3-io3",), _FIRST, "pi3-64bit"),
    Board("pi4", "Raspberry Pi 4B", ("bcm2711-rpi-4-b",), _FOURTH, "pi4-64bit"),
    Board("pi400", "Raspberry Pi 400", ("bcm2711-rpi-400",), _FOURTH, "pi4-64bit"),
    Board("cm4", "Raspberry Pi Compute Module 4", ("bcm2711-rpi-cm4-io",), _FOURTH, "pi4-64bit"),
    # Its memory loads the kernel without a file of raspi-firmware. Linux has the tree since 6.10, for 64 bits only.
    Board("pi5", "Raspberry Pi 5", ("bcm2712-rpi-5-b",), _FIFTH, "pi5-64bit", ("trixie",), ("arm64",)),
)
BOARDS: Final[Mapping[str, Board]] = {board.name: board for board in _ALL}


def find_board(name: str, architecture: Architecture, suite: Suite) -> Board:
    """Return a board that a kernel of the suite starts.

    Raises:
        BuildError: it is unknown, or the suite's kernel does not know it.
    """
    board = BOARDS.get(name)
    if board is None:
        raise BuildError(f"no board {name!r}; known: {', '.join(BOARDS)}")
    if suite not in board.suites:
        raise BuildError(
            f"{board.title}: the kernel of {suite} has no device tree for it; --suite {' or '.join(board.suites)} has"
        )
    if architecture not in board.architectures:
        raise BuildError(
            f"{board.title}: no kernel of Debian for {architecture} knows it; "
            f"--arch {' or '.join(board.architectures)} does"
        )
    return board
