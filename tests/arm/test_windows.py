"""On a board's processor the features of raw readings have the bits that training had."""

import os
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

from exporter.proof.debian_root import RECIPES, Architecture, add_wheels, prepare_root
from exporter.proof.emulated import roots_folder
from exporter.proof.places import NotRunError, copy_packages
from tests.conftest import REPOSITORY
from tests.unit.edge_agent.scoring.test_window_bits import EXPECTED

PARTS = ("tests/unit/edge_agent/signals.py", "tests/unit/edge_agent/scoring/window_bits.py")


@pytest.mark.slow
def test_an_emulated_processor_makes_the_same_bits():
    # Of armhf there is no wheel of msgspec.
    architecture: Architecture = "arm64"
    if os.geteuid() != 0:
        pytest.skip("chroot into a Debian of another processor needs root")
    try:
        root = prepare_root(architecture, roots_folder(os.environ))
        wheels = add_wheels(architecture, root, [f"{name}=={version(name)}" for name in ("numpy", "msgspec")])
    except NotRunError as reason:
        pytest.skip(str(reason))
    with tempfile.TemporaryDirectory(dir=root / "tmp", prefix="windows-") as name:
        folder = Path(name)
        copy_packages(folder)
        for part in PARTS:
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / part, folder / part)
        path = f"PYTHONPATH=/tmp/{folder.name}:{wheels}"
        assert RECIPES[architecture].library_path == ""
        told = subprocess.run(
            [
                "chroot",
                root,
                "/qemu",
                "-E",
                path,
                "/usr/bin/python3",
                "-m",
                "tests.unit.edge_agent.scoring.window_bits",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert told.stdout.split() == [EXPECTED, "numpy", version("numpy")], told.stderr
