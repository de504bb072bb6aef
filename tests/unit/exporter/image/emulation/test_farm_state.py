"""What is known of a farm between two commands."""

import os
from pathlib import Path

import pytest

from exporter.image.emulation.command_line import Forward
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.farm_state import BoardState, load_board, load_boards, pick_names, write_board
from exporter.image.emulation.process import Process, _started


def board(name: str, process: Process | None = None) -> BoardState:
    return BoardState(name, "virt", "/card.img", forwards=(Forward(5000, 80),), process=process)


def keep(farm: Path, *names: str) -> None:
    for name in names:
        (farm / name).mkdir(parents=True)
        write_board(farm / name, board(name))


def test_a_farm_lists_its_boards_by_number(tmp_path: Path):
    keep(tmp_path, "virt-10", "pi3-1", "virt-2")
    assert [each.name for each in load_boards(tmp_path)] == ["pi3-1", "virt-2", "virt-10"]
    assert load_board(tmp_path / "virt-2") == board("virt-2")


def test_a_folder_that_is_no_farm_has_no_boards(tmp_path: Path):
    assert load_boards(tmp_path / "none") == ()
    with pytest.raises(EmulationError, match="has no board virt-1"):
        load_board(tmp_path / "virt-1")


def test_a_damaged_file_of_a_board_is_named(tmp_path: Path):
    keep(tmp_path, "virt-1")
    (tmp_path / "virt-1" / "board.json").write_text("{")
    with pytest.raises(EmulationError, match=r"board\.json is damaged"):
        load_boards(tmp_path)


@pytest.mark.parametrize(
    ("there", "n", "names"),
    [
        ((), 2, ("virt-1", "virt-2")),
        (("virt-1",), 2, ("virt-1", "virt-2")),
        (("virt-2", "virt-5"), 3, ("virt-1", "virt-2", "virt-5")),
        (("virt-1", "virt-2", "virt-3"), 2, ("virt-1", "virt-2")),
        (("pi3-1",), 1, ("virt-1",)),
    ],
)
def test_boards_that_exist_are_taken_before_new_ones_are_made(there, n, names):
    assert pick_names(map(board, there), "virt", n) == names


def test_a_process_of_the_same_number_but_another_start_is_not_ours():
    started = _started(os.getpid())
    assert started is not None
    assert Process(os.getpid(), started).is_running
    assert not Process(os.getpid(), started - 1).is_running
    assert not board("virt-1", Process(os.getpid(), started - 1)).is_running


def test_a_process_that_only_waits_to_be_buried_does_not_run():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert _started(child) is None
    os.waitpid(child, 0)
