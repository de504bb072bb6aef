"""Packages of the agent, built once; compiled code of every architecture; two emulated devices at a time."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_agent.engine.compile import CODEC, ENGINE, CompilerError, compile_library
from exporter.proof.debian_root import RECIPES, Architecture, prepare_root
from exporter.proof.emulated import roots_folder
from exporter.proof.places import NotRunError
from tests.arm.processors import among_processors
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


@pytest.fixture(scope="session")
def roots() -> Mapping[Architecture, Path]:
    """A Debian of each architecture, or the reason why there is none."""
    try:
        return {architecture: prepare_root(architecture, roots_folder(os.environ)) for architecture in RECIPES}
    except NotRunError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def emulation(roots: Mapping[Architecture, Path]) -> None:
    """Programs in there start others, as they do here; or the reason why not."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    for architecture, root in roots.items():
        command = among_processors(["/usr/bin/python3", "-c", code], root)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:]
            pytest.skip(f"programs of {architecture} do not run here, Linux 6.7 or newer lets them: {said}")
