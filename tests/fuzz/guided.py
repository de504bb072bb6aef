"""Runs a fuzzer that coverage guides, in a process that owes nothing to the one that tests."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import REPOSITORY

# libFuzzer holds the peak of its process against its limit, and Linux hands on the peak of a process to what the
# process becomes. A worker of the tests has a gigabyte behind it: a shell in between, which starts another, has not.
_OWN_PEAK: Final = ("sh", "-c", '"$@"; exit $?', "sh")
_LIMITS: Final = ("-rss_limit_mb=1024", "-print_final_stats=1", "-seed=1")


def fuzz_guided(
    module: str, target: str, corpus: Path | None, folder: Path, *flags: str
) -> subprocess.CompletedProcess[str]:
    """Fuzz a target from its kept corpus; crashes and what is found go to ``folder``."""
    pytest.importorskip("atheris", reason="no atheris here: it has wheels for Linux on x86-64")
    found = folder / "found"
    found.mkdir()
    corpora = [found] if corpus is None else [found, corpus]
    return subprocess.run(
        [*_OWN_PEAK, sys.executable, "-m", module, target, *corpora, f"-artifact_prefix={folder}/", *_LIMITS, *flags],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=240,
        check=False,
    )
