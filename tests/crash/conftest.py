"""One recorded life and what it needs, for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.clock import Clock, SystemClock
from tests.crash.nursery import Nursery
from tests.crash.recording import Recording, record
from tests.crash.shim import Shim, compile_shim
from tests.crash.world import World, open_world, quick_folder


@pytest.fixture(scope="session")
def place(mosquitto: Path) -> Iterator[Path]:  # noqa: ARG001 - the broker that is there
    """A folder for thousands of disks."""
    with quick_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    return Shim(compile_shim(tmp_path_factory.mktemp("shim")))


@pytest.fixture(scope="session")
def world(place: Path) -> Iterator[World]:
    with open_world(place / "world") as world:
        yield world


@pytest.fixture(scope="session")
def recording(world: World, shim: Shim, place: Path) -> Recording:
    return record(world, shim, place / "recorded")


@pytest.fixture(scope="session")
def nursery(shim: Shim) -> Iterator[Nursery]:
    with Nursery(shim) as nursery:
        yield nursery


@pytest.fixture(scope="session")
def clock() -> Clock:
    return SystemClock()
