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


def pytest_collection_modifyitems(items):
    """A database for each of hundreds of tests takes a while."""
    for item in items:
        if item.path.parent.name == "on_postgres":
            item.add_marker(pytest.mark.slow)


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
