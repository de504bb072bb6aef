import pytest

from exporter.image.build.boards import BOARDS, find_board
from exporter.image.errors import BuildError
from exporter.image.imager_list import DEVICE_TAGS


def test_a_board_is_found_by_its_name():
    assert find_board("zero2w", "arm64", "bookworm").title == "Raspberry Pi Zero 2 W"


def test_an_unknown_board_is_told_with_those_that_are_known():
    with pytest.raises(BuildError, match="no board 'pi2'; known: pi3, zero2w"):
        find_board("pi2", "arm64", "bookworm")


def test_a_board_that_the_suites_kernel_does_not_know_is_refused_with_the_suite_that_does():
    with pytest.raises(BuildError, match="--suite trixie"):
        find_board("pi5", "arm64", "bookworm")


def test_a_board_that_the_architectures_kernel_does_not_know_is_refused():
    with pytest.raises(BuildError, match="--arch arm64"):
        find_board("pi5", "armhf", "trixie")


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_every_board_has_a_tree_and_a_name_that_imager_knows(board):
    assert board.trees
    assert board.imager_tag in DEVICE_TAGS
