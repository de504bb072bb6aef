"""Builds cards by the command that people type."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import REPOSITORY

BUILD_S: Final = 1500.0


def build_card(
    card: Path, image: Path, board: str = "pi3", *, runtime: str | None = None, is_packed: bool = False
) -> Path:
    """Build the image of a card; a test that cannot have it is skipped with the reason.

    Args:
        card: ``card.toml``.
        image: is written.
        board: as ``fieldloop image build`` calls it.
        runtime: beside the native engine.
        is_packed: write it as ``.zst`` too.
    """
    command = [sys.executable, "-P", "-m", "trainer.cli", "image", "build"]
    more = ([] if runtime is None else ["--runtime", runtime]) + (["--pack"] if is_packed else [])
    done = subprocess.run(
        [*command, str(card), "--board", board, "--out", str(image), *more],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        env={**os.environ},
    )
    if done.returncode and (" is missing: sudo apt-get install" in done.stderr or "No such command" in done.stderr):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return image
