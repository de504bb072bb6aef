"""What the service manager hears."""

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.service.notify import Notifier, notifier_from, watchdog_s
from tests.service_manager import ListeningManager, abstract_name, path_in


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[ListeningManager]:
    with tempfile.TemporaryDirectory() as folder:
        address = path_in(Path(folder)) if request.param == "path" else abstract_name()
        with ListeningManager(address) as manager:
            yield manager


def test_everything_that_is_told_is_heard_at_a_path_and_in_the_abstract_namespace(manager: ListeningManager):
    notifier = notifier_from({"NOTIFY_SOCKET": manager.address})
    notifier.ready("scoring")
    notifier.alive("")
    notifier.reloading(12.5)
    notifier.stopping()
    assert manager.messages[:2] == [{"READY": "1", "STATUS": "scoring"}, {"WATCHDOG": "1"}]
    assert manager.messages[2] | {"STATUS": ""} == {"RELOADING": "1", "MONOTONIC_USEC": "12500000", "STATUS": ""}
    assert manager.messages[3]["STOPPING"] == "1"


def test_a_status_cannot_tell_the_manager_anything_else(manager: ListeningManager):
    Notifier(manager.address).alive("first line\nMAINPID=1\nX" + "x" * 5000)
    (message,) = manager.messages
    assert set(message) == {"WATCHDOG", "STATUS"}
    assert message["STATUS"].startswith("first line MAINPID=1 Xxx")
    assert len(message["STATUS"]) == 512


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
def test_where_no_manager_listens_nothing_is_told(address: str | None, caplog: pytest.LogCaptureFixture):
    notifier = Notifier(address)
    notifier.ready()
    assert not notifier.is_heard
    assert caplog.text == ""


def test_a_manager_that_is_gone_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    notifier = Notifier(str(tmp_path / "gone"))
    with caplog.at_level(logging.INFO):
        notifier.alive("x")
        notifier.alive("x")
    assert len(caplog.records) == 1
    assert "does not hear WATCHDOG=1" in caplog.text


def test_a_manager_that_does_not_read_does_not_hold_up_the_agent(caplog: pytest.LogCaptureFixture):
    address = abstract_name()
    with ListeningManager(address):
        notifier = Notifier(address)
        for _ in range(10_000):
            notifier.alive("y" * 500)
            if caplog.records:
                break
    assert "does not hear" in caplog.text


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_s_time_is_ours_only_if_it_names_this_process(environment: dict[str, str], expected: float | None):
    assert watchdog_s(environment) == expected
