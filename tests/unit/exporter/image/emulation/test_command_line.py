"""How QEMU is called."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from exporter.image.emulation.boot_files import BootFiles
from exporter.image.emulation.command_line import Card, Forward, Start, parse_forward, qemu_arguments
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.machines import MACHINES, find_machine, machine_of_board

FILES = BootFiles(Path("/b/kernel"), Path("/b/initrd"), None, "console=ttyAMA0 ro")
PI_FILES = BootFiles(Path("/b/kernel"), Path("/b/initrd"), Path("/b/tree.dtb"), "ro")
CARD = Card(Path("/b/card.qcow2"), "qcow2")


def value_of(arguments: list[str], option: str) -> list[str]:
    return [after for each, after in pairwise(arguments) if each == option]


def test_the_fast_machine_has_a_virtual_disk_and_network():
    arguments = qemu_arguments(Start(MACHINES["virt"], FILES, CARD, (Forward(8080, 80), Forward(2222, 22))))
    assert value_of(arguments, "-machine") == ["virt"]
    assert value_of(arguments, "-append") == ["console=ttyAMA0 ro"]
    assert value_of(arguments, "-drive") == ["if=none,id=card,format=qcow2,file=/b/card.qcow2"]
    assert value_of(arguments, "-netdev") == [
        "user,id=net,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:2222-:22"
    ]
    assert value_of(arguments, "-serial") == ["mon:stdio"]
    assert "-dtb" not in arguments


def test_a_raspberry_pi_has_its_card_reader_its_device_tree_and_its_second_port():
    arguments = qemu_arguments(Start(MACHINES["raspi3b"], PI_FILES, CARD))
    assert value_of(arguments, "-drive") == ["if=sd,format=qcow2,file=/b/card.qcow2"]
    assert value_of(arguments, "-device") == ["usb-net,netdev=net"]
    assert value_of(arguments, "-dtb") == ["/b/tree.dtb"]
    assert value_of(arguments, "-serial") == ["null", "mon:stdio"]
    assert value_of(arguments, "-m") == ["1024"]
    assert value_of(arguments, "-smp") == ["4"]


def test_a_board_in_the_background_has_its_console_and_its_monitor_on_sockets():
    arguments = qemu_arguments(Start(MACHINES["raspi3b"], PI_FILES, CARD, console="socket"))
    assert value_of(arguments, "-serial") == ["null", "chardev:console"]
    assert "-daemonize" in arguments
    assert "mon:stdio" not in arguments


def test_a_kernel_of_32_bits_gets_a_processor_of_32_bits_which_a_raspi3b_is_not():
    files = replace(FILES, is_32bit=True)
    arguments = qemu_arguments(Start(MACHINES["virt"], files, CARD))
    assert value_of(arguments, "-cpu") == ["cortex-a15"]
    assert value_of(arguments, "-machine") == ["virt,highmem=off"]
    assert value_of(qemu_arguments(Start(MACHINES["virt"], FILES, CARD)), "-cpu") == ["cortex-a53"]
    with pytest.raises(EmulationError, match="take --machine virt"):
        qemu_arguments(Start(MACHINES["raspi3b"], files, CARD))


def test_a_comma_in_a_files_name_begins_no_option():
    card = Card(Path("/b/a,snapshot=off.img"), "raw", snapshot=True)
    (drive,) = value_of(qemu_arguments(Start(MACHINES["virt"], FILES, card)), "-drive")
    assert drive == "if=none,id=card,format=raw,file=/b/a,,snapshot=off.img,snapshot=on"


def test_a_board_cannot_have_other_memory_than_it_has():
    with pytest.raises(EmulationError, match="raspi3b has 1024 MiB memory, not 2048: take virt"):
        qemu_arguments(Start(MACHINES["raspi3b"], PI_FILES, CARD, memory_mib=2048))
    with pytest.raises(EmulationError, match="raspi3b has 4 processors, not 2"):
        qemu_arguments(Start(MACHINES["raspi3b"], PI_FILES, CARD, cpus=2))
    arguments = qemu_arguments(Start(MACHINES["virt"], FILES, CARD, memory_mib=512, cpus=1))
    assert value_of(arguments, "-m") == ["512"]
    assert value_of(arguments, "-smp") == ["1"]


@pytest.mark.parametrize("text", ["", "80", "80:", ":80", "0:80", "80:65536", "a:b", "80:80:80", "-1:80", "\u0663:80"])
def test_what_is_no_pair_of_ports_is_refused(text: str):
    with pytest.raises(EmulationError, match="no pair of ports"):
        parse_forward(text)


def test_a_pair_of_ports_leads_from_here_to_the_board():
    assert parse_forward("8080:80") == Forward(host_port=8080, guest_port=80)


def test_an_unknown_machine_or_board_is_answered_with_those_there_are():
    with pytest.raises(EmulationError, match="there are virt, raspi3b"):
        find_machine("raspi5")
    with pytest.raises(EmulationError, match="--board pi3 is a Raspberry Pi 3B"):
        machine_of_board("pi5")
    assert machine_of_board("pi3") is find_machine("raspi3b")
