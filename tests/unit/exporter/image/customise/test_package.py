"""Tests of exporter.image.customise.package."""

from pathlib import Path

import pytest

from exporter.image.customise.errors import CustomiseError
from exporter.image.customise.package import choose_package, load_package
from scripts.deb.archive import Entry, debian_package


def write_package(folder: Path, architecture: str = "arm64", name: str = "fieldloop-agent") -> Path:
    path = folder / f"{name}_{architecture}.deb"
    control = f"Package: {name}\nVersion: 1.2.3\nArchitecture: {architecture}\nDescription: a test\n Version: 9\n"
    contents = (Entry("usr/share/doc/x", b"x"),)
    path.write_bytes(debian_package((Entry("control", control.encode()),), contents, 0))
    return path


def test_it_tells_version_and_architecture(tmp_path: Path):
    package = load_package(write_package(tmp_path))
    assert (package.version, package.architecture) == ("1.2.3", "arm64")


def test_another_package_is_refused(tmp_path: Path):
    with pytest.raises(CustomiseError, match="is the package nginx, not fieldloop-agent"):
        load_package(write_package(tmp_path, name="nginx"))


@pytest.mark.parametrize("end", [0, 7, 40, 90, -5000])
def test_a_file_that_is_none_or_is_cut_off_is_refused(tmp_path: Path, end: int):
    path = write_package(tmp_path)
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(CustomiseError, match="is no Debian package"):
        load_package(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(CustomiseError, match="`make deb` builds"):
        load_package(tmp_path / "none.deb")


def test_the_one_for_the_architecture_is_taken_or_it_is_said_how_to_get_it(tmp_path: Path):
    packages = tuple(load_package(write_package(tmp_path, each)) for each in ("arm64", "armhf"))
    assert choose_package(packages, "armhf", "the image").architecture == "armhf"
    with pytest.raises(CustomiseError, match="make deb ARGS=armhf"):
        choose_package(packages[:1], "armhf", "the image")
