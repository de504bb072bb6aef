from pathlib import Path

import pytest
from msgspec.structs import replace

from exporter.image.build.building import BuildOptions, epoch_of, root_wanted
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


def test_what_the_agents_package_for_32_bits_lacks_on_a_later_debian_comes_from_that():
    later = replace(OPTIONS, architecture="armhf", suite="trixie")
    assert "python3-msgspec" in root_wanted(System(), later, None, PACKAGE, None).debian.all_packages
    for has_it in (replace(later, suite="bookworm"), replace(later, architecture="arm64")):
        assert "python3-msgspec" not in root_wanted(System(), has_it, None, PACKAGE, None).debian.all_packages


def test_a_time_that_is_still_to_come_is_refused_because_it_would_bound_nothing():
    assert epoch_of({"SOURCE_DATE_EPOCH": "1700000000"}, 1.7e9) == 1_700_000_000
    with pytest.raises(BuildError, match="is still to come"):
        epoch_of({"SOURCE_DATE_EPOCH": "1700000001"}, 1.7e9)


def test_without_a_time_it_is_left_open():
    assert epoch_of({}, 1.7e9) is None
