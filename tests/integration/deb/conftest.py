"""Packages, built once, and a Debian to install them in."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from exporter.proof.emulated import cache_folder
from scripts.deb.architectures import ARCHITECTURES
from scripts.deb.build import build_package
from tests.conftest import REPOSITORY
from tests.integration.agent.conftest import any_broker, one_fleet, updates  # noqa: F401 - fixtures
from tests.integration.deb.machine import Root, base_archive

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
                built[architecture, version] = build_package(
                    ARCHITECTURES[architecture], version, folder, Path("build") / "deb", TIME_S
                )
        return built[architecture, version]

    return build


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """A Debian for amd64; each test leaves it as it was."""
    folder = tmp_path_factory.mktemp("debian")
    yield Root(folder, base_archive(cache_folder(os.environ)))
