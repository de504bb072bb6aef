"""Runs the golden rows of one variant in a process of its own, which a hostile model may exhaust or crash alone."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from edge_agent.bundle import MANIFEST_NAME, Variant, parse_manifest
from edge_agent.errors import AgentError, RuntimeMissingError
from edge_agent.scoring.golden import verify_golden
from edge_agent.scoring.loading import open_runtime

Verdict = Literal["right", "wrong", "unproven"]

TIMEOUT_S: Final = 120.0
_MODULE: Final = "exporter.bundles.golden_run"
_CPU_S: Final = 60
_MEMORY_BYTES: Final = 2 << 30


class GoldenOutcome(Struct, frozen=True):
    """How it went: ``unproven`` where no runtime is installed for the variant."""

    verdict: Verdict
    detail: str


def run_golden(folder: Path, variant: Variant, timeout_s: float = TIMEOUT_S) -> GoldenOutcome:
    """Score the golden rows of a bundle with one of its variants.

    Args:
        folder: of the bundle, whose files were checked.
        variant: of its manifest.
        timeout_s: for all of it; 60 seconds of computing and 2 GiB of memory are the other bounds.
    """
    # -P: the current folder may be anybody's, and is no place to import from. -u: its last words come last.
    command = [sys.executable, "-P", "-u", "-m", _MODULE, str(folder), variant.name]
    try:
        run = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return GoldenOutcome("wrong", f"no answer within {timeout_s:g} s")
    if run.returncode < 0:
        name = signal.Signals(-run.returncode).name
        return GoldenOutcome("wrong", f"its runtime was ended by {name} while it ran the golden rows")
    try:
        return msgspec.json.decode(run.stdout, type=GoldenOutcome)
    except msgspec.MsgspecError:
        last = run.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return GoldenOutcome("wrong", f"its runtime failed with code {run.returncode}: {''.join(last)[:500]}")


def _outcome_of(folder: Path, name: str) -> GoldenOutcome:
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
    variant = next(variant for variant in manifest.variants if variant.name == name)
    try:
        runtime = open_runtime(variant, folder, manifest)
        try:
            result = verify_golden(manifest, variant, runtime)
        finally:
            runtime.close()
    except RuntimeMissingError as error:
        return GoldenOutcome("unproven", str(error))
    except AgentError as error:
        return GoldenOutcome("wrong", str(error))
    return GoldenOutcome(
        "right",
        f"{result.rows} golden rows, greatest difference {result.max_abs_difference:.3g} of {variant.tolerance:g}",
    )


def main(arguments: list[str]) -> None:
    """Run ``python -m exporter.bundles.golden_run FOLDER VARIANT`` and print the outcome as JSON."""
    for what, limit in (
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_DATA, _MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(what)
        bound = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(what, (bound, most))
    # Kept for the outcome alone: what a runtime prints goes to stderr.
    answer = os.dup(1)
    os.dup2(2, 1)
    os.write(answer, msgspec.json.encode(_outcome_of(Path(arguments[0]), arguments[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
