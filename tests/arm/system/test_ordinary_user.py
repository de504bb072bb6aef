"""A card of arm64 is built from nothing twice, by root and by an ordinary user whose home is closed; it is the same."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from tests.arm.ordinary_user import as_ordinary_user, home, own
from tests.arm.system.test_other_cards import ALL
from tests.conftest import REPOSITORY
from tests.integration.deb.conftest import BuildPackage
from tests.unit.exporter.image.card.cards import AGENT, write_card

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(ALL not in os.environ, reason=f"takes minutes: make test-arm runs it, or {ALL}=1"),
    pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root"),
]


def test_an_ordinary_user_and_root_build_the_same_bytes_each_from_a_debian_of_their_own(
    package_of: BuildPackage, tmp_path: Path
):
    write_card(tmp_path, AGENT)
    shutil.copy(package_of("arm64", "0.1.0"), tmp_path / "agent.deb")
    # Yesterday: no file that is written now keeps its time.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(int(SystemClock().utc_s()) - 86_400)}
    with home() as place:
        environment["PYTHONPATH"] = str(REPOSITORY)
        theirs = place / "card"
        shutil.copytree(tmp_path, theirs)
        own(place)
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        run(as_ordinary_user(build(theirs), place, scratch), {**environment, "XDG_CACHE_HOME": str(place / "cache")})
        run(build(tmp_path), {**environment, "XDG_CACHE_HOME": str(tmp_path / "cache")})
        assert digest(theirs / "card.img") == digest(tmp_path / "card.img")
        assert (theirs / "card.img").stat().st_uid != 0


def build(folder: Path) -> list[str]:
    """Return the command that builds the card of a folder."""
    command = [sys.executable, "-P", "-m", "trainer.cli", "image", "build", "--board", "pi3", "--device", "press-1"]
    files = ("--card", "card.toml", "--agent-package", "agent.deb", "--out", "card.img")
    return [*command, *(word if word.startswith("--") else str(folder / word) for word in files)]


def run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode and "does not run programs for arm64" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr


def digest(image: Path) -> str:
    with image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
