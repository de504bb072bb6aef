"""What the unit tests of the fleet's database show on SQLite, shown on a real PostgreSQL: the same tests, once more."""

import itertools
import os

import pytest

from tests.unit.trainer.continuous import conftest as continuous
from tests.unit.trainer.monitoring import (
    test_device_alerts,
    test_intake,
    test_labelled,
    test_rates,
    test_receiver,
    test_shadows,
)
from tests.unit.trainer.rollout import test_operator

_OPENING = (
    *(test_intake, test_labelled, test_receiver, test_device_alerts, test_rates, test_shadows),
    *(test_operator, continuous),
)
_NUMBERS = itertools.count()


# They have SQLite fail by means of its own; what PostgreSQL refuses is in test_poison.py.
_OF_SQLITE = {
    "test_a_locked_database_stores_and_marks_nothing_and_takes_the_same_batch_later",
    "test_a_database_that_cannot_be_reached_says_so",
    "test_an_address_that_is_none_is_refused",
}


def pytest_collection_modifyitems(items):
    """A database for each of a hundred tests takes a while."""
    for item in items:
        if item.path.parent.name == "on_postgres":
            item.add_marker(pytest.mark.slow)
            if item.name in _OF_SQLITE:
                item.add_marker(pytest.mark.skip(reason="has SQLite fail by a lock or an address of its own"))


@pytest.fixture(autouse=True)
def on_postgres(postgres, monkeypatch):
    """Have whoever names a file get a database of its own: the same one for the same file."""
    known = {}

    def address_of(file):
        if file not in known:
            known[file] = postgres.new_database(f"unit-{os.getpid()}-{next(_NUMBERS)}")
        return known[file]

    for module in _OPENING:
        monkeypatch.setattr(module, "store_uri", address_of)
    yield
    assert known, "a test that opens no store shows nothing here"
