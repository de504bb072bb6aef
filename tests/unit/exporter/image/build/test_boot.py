import pytest

from exporter.image.build.boards import BOARDS
from exporter.image.build.boot import BootParts, boot_files, command_line
from exporter.image.errors import BuildError

NAMES = ("vmlinuz", "initrd.img", "bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat")
TREES = tuple(f"{tree}.dtb" for name in ("pi3", "pi4") for tree in BOARDS[name].trees)
PARTS = BootParts({name: name.encode() for name in (*NAMES, *TREES)})


def test_a_board_gets_its_own_trees_and_firmware_alone():
    files = boot_files(PARTS, BOARDS["pi4"], "arm64", ("ro",))
    assert "start4.elf" in files
    assert "bcm2711-rpi-4-b.dtb" in files
    assert "bootcode.bin" not in files
    assert "bcm2837-rpi-3-b.dtb" not in files


def test_the_firmware_is_told_of_kernel_and_initrd_and_how_many_bits_they_have():
    config = boot_files(PARTS, BOARDS["pi3"], "arm64", ("ro",))["config.txt"].decode().splitlines()
    assert {"arm_64bit=1", "kernel=vmlinuz", "initramfs initrd.img followkernel", "enable_uart=1"} <= set(config)
    assert b"arm_64bit=0\n" in boot_files(PARTS, BOARDS["pi3"], "armhf", ("ro",))["config.txt"]


def test_the_kernel_gets_its_consoles_and_the_cards_arguments_on_one_line():
    line = command_line(BOARDS["pi3"], ("root=LABEL=fieldloop-root", "ro"))
    assert line == b"console=tty0 console=ttyS1,115200 root=LABEL=fieldloop-root ro\n"


def test_a_board_whose_tree_the_kernel_lacks_is_refused():
    with pytest.raises(BuildError, match=r"bcm2711-rpi-400\.dtb"):
        boot_files(PARTS, BOARDS["pi400"], "arm64", ())
