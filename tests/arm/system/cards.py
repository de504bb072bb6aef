"""Builds cards by the command that people type."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from exporter.image.build.boards import Architecture, Suite
from tests.conftest import REPOSITORY
from tests.crash.witness import DEVICE

BUILD_S: Final = 1500.0
# What a build says where it lacks something of this machine.
_NOT_HERE: Final = (
    " is missing: sudo apt-get install",
    "does not run programs for",
    "No such command",
    "a mirror is just being renewed",
)


def build_card(
    card: Path,
    image: Path,
    *,
    fleet: Path | None = None,
    runtime: str | None = None,
    is_packed: bool = False,
    architecture: Architecture = "arm64",
    suite: Suite = "bookworm",
    more: Sequence[str] = (),
) -> Path:
    """Build the image of a card; a test that cannot have it is skipped with the reason.

    Args:
        card: ``card.toml``.
        image: is written.
        fleet: folder of the fleet that the witness's device is put down in.
        runtime: beside the native engine.
        is_packed: write it as ``.zst`` too.
        architecture: of its programs.
        suite: of Debian.
        more: further options.
    """
    options = ["--arch", architecture, "--suite", suite, *more]
    options += ([] if runtime is None else ["--runtime", runtime]) + (["--zst"] if is_packed else [])
    options += [] if fleet is None else ["--device", DEVICE, "--fleet", str(fleet)]
    command = ["-P", "-m", "trainer.cli", "image", "build", "--board", "pi3", "--card", str(card), "--out", str(image)]
    _run("-m", "scripts.deb.build", architecture)
    _run(*command, *options)
    return image


def _run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, check=False, capture_output=True, text=True, timeout=BUILD_S
    )
    if done.returncode and any(reason in done.stderr for reason in _NOT_HERE):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
