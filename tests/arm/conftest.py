"""Packages of the agent, built once; compiled code of every architecture; two emulated devices at a time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge_agent.engine.compile import CODEC, ENGINE, CompilerError, compile_library
from tests.integration.deb.conftest import package_of

__all__ = ["package_of"]
ENGINES = ("aarch64", "armv7")


@pytest.fixture(scope="session")
def two_at_a_time() -> Iterator[ThreadPoolExecutor]:
    """Runs what waits for emulated processes: one for each core of a small machine."""
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture(scope="session")
def compiled_for_arm() -> None:
    """The engine and the codec beside their sources, where an export's own packages are copied from."""
    try:
        for library in (ENGINE, CODEC):
            for name in ENGINES:
                compile_library(library, name, library.folder)
    except CompilerError as error:
        pytest.skip(str(error))
