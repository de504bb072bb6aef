"""A card's root and data on a systemd that runs: what the board does at its first start and at later ones."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.card.board import Board, free_port_22, ssh
from tests.integration.card.conftest import MadeCard
from tests.integration.deb.machine import Machine
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def machine(board: Board) -> Iterator[Machine]:
    """The board after its first start; the tests run in the order of the file."""
    yield board.start()
    board.stop()


def answers(board: Board) -> int:
    path = board.data / "fieldloop/answers.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def test_it_scores_at_its_first_start_without_any_network(machine: Machine, board: Board):
    wait_until(lambda: answers(board) > 10, 60, f"the bundle of the card scores; {machine.journal()[-2000:]}")
    first = json.loads((board.data / "fieldloop/answers.jsonl").read_bytes().splitlines()[0])
    assert first


def test_nothing_has_failed(machine: Machine):
    failed = machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").stdout
    assert failed == ""
