import subprocess
from pathlib import Path

import pytest

from exporter.image.build.boards import SUITES
from exporter.image.build.building import BuildOptions, epoch_of, root_wanted, verify_python
from exporter.image.card.description import System
from exporter.image.errors import BuildError

MAIN = "http://a.example/debian"
OPTIONS = BuildOptions("pi3", Path("card.toml"), Path("card.img"), mirror=MAIN, security_mirror="none")
PACKAGE = Path("agent.deb")


def test_security_updates_can_be_left_out():
    assert root_wanted(System(), OPTIONS, None, PACKAGE, None).debian.mirrors == (MAIN, None)


def test_a_board_that_updates_itself_takes_a_mirror_to_do_it_from():
    with pytest.raises(BuildError, match="takes their mirror"):
        root_wanted(System(security_updates=True), OPTIONS, None, PACKAGE, None)


def test_a_package_that_lacks_libraries_for_the_suites_python_is_refused_before_a_debian_is_made(tmp_path: Path):
    package = make_package(tmp_path, "python3 (>= 3.11), python3 (<< 3.12) | python3-msgspec (>= 0.19), openssl")
    verify_python(package, "armhf", "bookworm")
    with pytest.raises(BuildError, match=r"make deb ARGS=armhf PYTHON=python3\.13 makes one for it"):
        verify_python(package, "armhf", "trixie")


def test_a_package_for_several_pythons_fits_their_suites(tmp_path: Path):
    package = make_package(tmp_path, "python3 (>= 3.11), python3 (<< 3.15), openssl")
    for suite in SUITES:
        verify_python(package, "arm64", suite)


def test_a_time_that_is_still_to_come_is_refused_because_it_would_bound_nothing():
    assert epoch_of({"SOURCE_DATE_EPOCH": "1700000000"}, 1.7e9) == 1_700_000_000
    with pytest.raises(BuildError, match="is still to come"):
        epoch_of({"SOURCE_DATE_EPOCH": "1700000001"}, 1.7e9)


def test_without_a_time_it_is_left_open():
    assert epoch_of({}, 1.7e9) is None


def make_package(folder: Path, depends: str) -> Path:
    """Make a package that says what it needs, and has nothing in it."""
    control = folder / "tree/DEBIAN/control"
    control.parent.mkdir(parents=True)
    fields = {"Package": "agent", "Version": "1", "Architecture": "all", "Maintainer": "a <a@b.example>"}
    lines = [f"{key}: {value}" for key, value in (fields | {"Depends": depends, "Description": "agent"}).items()]
    control.write_text("\n".join([*lines, ""]))
    package = folder / "agent.deb"
    subprocess.run(["dpkg-deb", "--build", str(folder / "tree"), str(package)], check=True, capture_output=True)
    return package
