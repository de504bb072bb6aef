"""What a boot partition starts, by its config.txt."""

from pathlib import Path

import pytest

from exporter.image.emulation.boot_config import BootNames, choose_boot_names, kernel_arguments, parse_config
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.machines import MACHINES

VIRT, PI = MACHINES["virt"], MACHINES["raspi3b"]
TREE = "bcm2837-rpi-3-b.dtb"
IMAGE = Path("card.img")


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("kernel=a.img\n", {"kernel": "a.img"}),
        ("kernel = a.img # the first\nkernel=b.img\n", {"kernel": "b.img"}),
        ("initramfs initrd.img followkernel\n", {"initramfs": "initrd.img"}),
        ("[pi4]\nkernel=four.img\n[all]\narm_64bit=1\n", {"arm_64bit": "1"}),
        ("[pi3]\nkernel=three.img\n[pi4]\nkernel=four.img\n", {"kernel": "three.img"}),
        ("[none]\nkernel=never.img\n", {}),
        ("#kernel=a.img\nnonsense\n", {}),
    ],
)
def test_settings_that_apply_to_the_board_are_read(text: str, settings: dict[str, str]):
    assert parse_config(text, PI.sections) == settings


@pytest.mark.parametrize(
    ("settings", "files", "names"),
    [
        ({"kernel": "k", "initramfs": "i"}, {"k", "i", TREE}, BootNames("k", "i", TREE)),
        ({}, {"kernel8.img", "vmlinuz-6.1.0-9-arm64", TREE}, BootNames("kernel8.img", None, TREE)),
        (
            {},
            {"vmlinuz-6.1.0-9-arm64", "vmlinuz-6.1.0-10-arm64", "initrd.img-6.1.0-10-arm64", TREE},
            BootNames("vmlinuz-6.1.0-10-arm64", "initrd.img-6.1.0-10-arm64", TREE),
        ),
        ({"kernel": "k", "device_tree": "other.dtb"}, {"k", "other.dtb"}, BootNames("k", None, "other.dtb")),
    ],
)
def test_a_partition_starts_what_its_settings_or_its_files_say(settings, files, names):
    assert choose_boot_names(settings, files, PI, IMAGE) == names


def test_a_machine_that_makes_its_own_device_tree_needs_none():
    assert choose_boot_names({"kernel": "k"}, {"k"}, VIRT, IMAGE) == BootNames("k", None, None)


def test_an_image_without_a_kernel_is_refused():
    with pytest.raises(EmulationError, match=r"card\.img has no kernel"):
        choose_boot_names({}, {TREE, "config.txt"}, PI, IMAGE)


def test_a_file_that_config_txt_names_and_that_is_missing_is_named():
    with pytest.raises(EmulationError, match=r"has no i, bcm2837-rpi-3-b\.dtb on its boot partition"):
        choose_boot_names({"kernel": "k", "initramfs": "i"}, {"k"}, PI, IMAGE)


def test_the_console_of_the_machine_takes_the_place_of_those_of_the_image():
    text = "console=tty0 console=ttyS1,115200 root=LABEL=root ro\n"
    assert kernel_arguments(text, VIRT) == "console=ttyAMA0 root=LABEL=root ro"
    assert kernel_arguments(text, PI, "quiet  x") == (
        "console=ttyS1,115200 root=LABEL=root ro module_blacklist=vchiq systemd.watchdog_sec=0 quiet x"
    )
