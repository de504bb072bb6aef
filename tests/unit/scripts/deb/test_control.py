"""What the package asks of the device that takes it."""

import sys

import pytest

from scripts.deb.architectures import ARCHITECTURES
from scripts.deb.archive import Entry
from scripts.deb.control import control_for

CONTENTS = (Entry("usr/bin/fieldloop-agent", b"x" * 5000, 0o755),)


def fields(architecture: str) -> dict[str, str]:
    control = {entry.path: entry.data for entry in control_for(ARCHITECTURES[architecture], "1.2.3", CONTENTS)}
    text = control["control"]
    assert text is not None
    return dict(line.split(": ", 1) for line in text.decode().splitlines() if line[0] != " ")


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_every_python_that_has_its_compiled_library_will_do_and_no_other(architecture: str):
    depends = fields(architecture)["Depends"].split(", ")
    assert "python3 (>= 3.11)" in depends
    assert "python3 (<< 3.15)" in depends


@pytest.mark.parametrize("architecture", ["amd64", "arm64", "armhf"])
def test_a_device_that_enrols_has_the_command_that_makes_its_key(architecture: str):
    assert "openssl" in fields(architecture)["Depends"].split(", ")


def test_on_armhf_another_python_than_that_of_the_build_needs_debian_s_library():
    here, after = (f"3.{sys.version_info.minor + step}" for step in (0, 1))
    depends = fields("armhf")["Depends"].split(", ")
    assert f"python3 (>= {here})" in depends
    assert f"python3 (<< {after}) | python3-msgspec (>= 0.19)" in depends


def test_the_fields_say_what_is_in_it():
    found = fields("amd64")
    assert (found["Package"], found["Version"], found["Architecture"]) == ("fieldloop-agent", "1.2.3", "amd64")
    assert found["Installed-Size"] == "7"


def test_maintainer_scripts_are_programs():
    modes = {entry.path: entry.mode for entry in control_for(ARCHITECTURES["amd64"], "1", CONTENTS)}
    assert modes == {"control": 0o644, "md5sums": 0o644, "postinst": 0o755, "postrm": 0o755, "prerm": 0o755}
