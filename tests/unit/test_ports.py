"""Ports that tests take before they listen on them."""

import socket

import pytest

from tests.ports import END, HOST, LOWEST, free_port, share_of_worker


def share(worker: str, n_workers: int) -> set[int]:
    return set(share_of_worker({"PYTEST_XDIST_WORKER": worker, "PYTEST_XDIST_WORKER_COUNT": str(n_workers)}))


def test_workers_share_all_ports_and_have_none_in_common() -> None:
    shares = [share(f"gw{number}", 3) for number in range(3)]
    assert set().union(*shares) == set(range(LOWEST, END)) == set(share_of_worker({}))
    assert sum(map(len, shares)) == END - LOWEST


def test_a_worker_in_place_of_a_crashed_one_has_ports_too() -> None:
    assert share("gw5", 2) == share("gw1", 2)


def test_the_system_itself_gives_none_of_them_out() -> None:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        assert probe.getsockname()[1] >= END


def test_a_port_is_given_once_and_can_be_listened_on() -> None:
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    with socket.create_server((HOST, ports[0])):
        pass


def test_a_port_that_somebody_listens_on_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_port(), free_port()
    monkeypatch.setattr("tests.ports._next_ports", iter((taken, free)))
    with socket.create_server((HOST, taken)):
        assert free_port() == free
