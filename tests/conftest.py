"""What tests of every floor share: free ports, the data folder, interpreters of environments of their own."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import settings

from tests import ports

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

REPOSITORY: Final = Path(__file__).resolve().parent.parent
SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"

# A shell that starts the tests in the background has them ignore SIGINT, and every program that they start as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

# One commit, one answer: the tests take the same examples every time. `make properties` searches with new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of the most slow tests, where there are several workers: none is to wait for the last."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return REPOSITORY


@pytest.fixture
def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    return ports.free_port()


@pytest.fixture
def free_ports() -> Callable[[int], list[int]]:
    """Give as many different free loopback ports as asked for."""

    def take(n: int) -> list[int]:
        return sorted(ports.free_port() for _ in range(n))

    return take


@pytest.fixture(scope="session")
def postgres() -> "Iterator[PostgresServer]":
    """A PostgreSQL server that a worker's tests share: each makes a database of its own in it."""
    # Devices, where some of these tests run as well, have no SQLAlchemy.
    from tests.postgres import postgres_server

    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the data sets, beside the checkout or where FIELDLOOP_SHARED says."""
    shared = Path(os.environ.get("FIELDLOOP_SHARED", REPOSITORY.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"no data folder at {shared / 'data'}; FIELDLOOP_SHARED names another one")
    return shared / "data"


@pytest.fixture(scope="session")
def tflite_python() -> Path:
    """The Python of the environment with tflite-runtime, which `make test` prepares on Python 3.11."""
    named = os.environ.get("FIELDLOOP_TFLITE_PYTHON")
    python = Path(named) if named else REPOSITORY / ".venv-tflite" / "bin" / "python"
    if not python.exists():
        pytest.skip("no tflite-runtime environment: it needs Python 3.11; `make test` prepares it there")
    return python


@pytest.fixture(scope="session")
def triton_python() -> Path:
    """The Python of the environment with NVIDIA's tritonclient, which `make test` prepares.

    It is one of its own: tritonclient wants an older ml-dtypes than onnx.
    """
    named = os.environ.get("FIELDLOOP_TRITON_PYTHON")
    python = Path(named) if named else REPOSITORY / ".venv-triton" / "bin" / "python"
    if not python.exists():
        pytest.skip("no environment with tritonclient; `make test` prepares it, FIELDLOOP_TRITON_PYTHON names another")
    return python


@pytest.fixture(scope="session")
def mosquitto() -> Path:
    """Debian's mosquitto, which `make test` installs."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{SBIN}")
    if found is None:
        pytest.skip("no mosquitto here: sudo apt-get install mosquitto")
    return Path(found)
