from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.machine_name import name_of_this_machine


def machine(root: Path, serial: bytes | None, machine_id: bytes | None) -> Path:
    for place, data in (("proc/device-tree/serial-number", serial), ("etc/machine-id", machine_id)):
        if data is not None:
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_bytes(data)
    return root


def test_a_name_without_a_star_is_the_name(tmp_path: Path):
    assert name_of_this_machine("press-1", tmp_path) == "press-1"


def test_a_star_is_ten_digits_of_the_board_whatever_card_is_in_it(tmp_path: Path):
    one = machine(tmp_path / "one", b"10000000abcdef01\0", b"a" * 32 + b"\n")
    same = machine(tmp_path / "same", b"10000000abcdef01\0", b"b" * 32 + b"\n")
    other = machine(tmp_path / "other", b"10000000abcdef02\0", b"a" * 32 + b"\n")
    names = [name_of_this_machine("press-*", root) for root in (one, same, other)]
    assert names[0] == names[1] != names[2]
    # Never change this: a device would become another one.
    assert names[0] == "press-49a50928b5"


def test_a_machine_without_a_serial_number_has_its_machine_id(tmp_path: Path):
    root = machine(tmp_path, b"0000000000000000\0", b"a" * 32 + b"\n")
    name = name_of_this_machine("*", root)
    assert len(name) == 10
    assert name != "a" * 10


@pytest.mark.parametrize("machine_id", [None, b"", b"uninitialized\n", b"0" * 32])
def test_a_machine_that_cannot_be_told_from_others_needs_a_name(tmp_path: Path, machine_id: bytes | None):
    with pytest.raises(SettingsError, match="give a name"):
        name_of_this_machine("press-*", machine(tmp_path, None, machine_id))


def test_two_stars_are_one_too_many(tmp_path: Path):
    with pytest.raises(SettingsError, match="there are 2"):
        name_of_this_machine("*-*", tmp_path)
