from pathlib import Path

import pytest

from exporter.image.build.building import BuildOptions, root_wanted
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
