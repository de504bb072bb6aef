"""Packages, built once, and a Debian to install them in."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from edge_agent.engine.compile import CompilerError
from exporter.proof.emulated import roots_folder
from scripts.deb.architectures import ARCHITECTURES
from scripts.deb.build import build_package
from scripts.deb.compiled import CompileError
from tests.conftest import REPOSITORY
from tests.debian_machine import Root, base_archive

TIME_S: Final = 1_790_000_000
BuildPackage = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def package_of(tmp_path_factory: pytest.TempPathFactory) -> BuildPackage:
    """Builds the package of an architecture in a version, each once; what is fetched and compiled is kept in build/."""
    folder = tmp_path_factory.mktemp("packages")
    built: dict[tuple[str, str], Path] = {}

    def build(architecture: str, version: str) -> Path:
        if (architecture, version) not in built:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(REPOSITORY)
                try:
                    built[architecture, version] = build_package(
                        ARCHITECTURES[architecture], version, folder, Path("build") / "deb", TIME_S
                    )
                except (CompileError, CompilerError) as error:
                    pytest.skip(str(error))
        return built[architecture, version]

    return build


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A Debian for amd64; each test leaves it as it was."""
    folder = tmp_path_factory.mktemp("debian")
    return Root(folder, base_archive(roots_folder(os.environ)))
