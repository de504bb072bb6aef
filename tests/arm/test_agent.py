"""The agent of the Debian package passes its unit tests on the processors of boards."""

import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

import pytest

from exporter.proof.debian_root import RECIPES, Architecture
from tests.arm.device import device_with
from tests.integration.deb.conftest import BuildPackage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
_DEADLINE_S: Final = 1500
_UNITS: Final = "tests/unit/edge_agent"
# What is decided by the processor, its C compiler, its libraries, or the kernel's answers to them (msgspec for 32 bits
# is compiled by us). The rest is Python that takes the same way everywhere, and under emulation ten times as long.
_EVERYWHERE: Final = (
    "tests/contracts/edge_agent/test_runtimes.py",
    "tests/unit/broker/test_messages.py",
    "tests/unit/broker/test_old_messages.py",
    "tests/unit/broker/test_packs.py",
    f"{_UNITS}/scoring/test_native_runtime.py",
    f"{_UNITS}/scoring/test_schema.py",
    f"{_UNITS}/scoring/test_window_bits.py",
    f"{_UNITS}/sensing/test_csv_replay.py",
    f"{_UNITS}/sensing/test_journal.py",
    f"{_UNITS}/telemetry/test_sketches.py",
    f"{_UNITS}/telemetry/test_spool.py",
    f"{_UNITS}/telemetry/test_window.py",
    f"{_UNITS}/test_bundle.py",
    f"{_UNITS}/test_bundle_file.py",
    f"{_UNITS}/test_durable.py",
    f"{_UNITS}/test_facts.py",
    f"{_UNITS}/test_machine_name.py",
    f"{_UNITS}/update/test_states.py",
)
_TESTS: Final[Mapping[Architecture, tuple[str, ...]]] = {
    "arm64": (
        *_EVERYWHERE,
        f"{_UNITS}/engine/test_face.py",
        f"{_UNITS}/engine/test_rows.py",
        f"{_UNITS}/scoring/test_golden.py",
        f"{_UNITS}/scoring/test_onnx_runtime.py",
        f"{_UNITS}/scoring/test_scorer.py",
        f"{_UNITS}/scoring/test_tflite_runtime.py",
    ),
    "armhf": (*_EVERYWHERE, f"{_UNITS}/engine/test_face.py", f"{_UNITS}/engine/test_rows.py"),
}
# Those that take minutes there, and tell what they tell of every processor; and of 32 bits those whose models are
# written by libraries that are not there: test_parity has models from here. tflite-runtime would also have the whole
# process take numbers next to 0 for 0, from which neither msgspec's bounds nor exact comparisons are safe.
_NOT: Final[Mapping[Architecture, tuple[str, ...]]] = {
    "arm64": ("another_thread", "survives_a_kill", "thirty_days", "thins", "waits_for_too_long", "at_any_moment"),
    "armhf": ("another_thread", "survives_a_kill", "thirty_days", "thins", "waits_for_too_long", "at_any_moment",
              "onnx", "tflite"),
}  # fmt: skip
Outcome = CompletedProcess[str]


@pytest.fixture(scope="module")
def outcomes(
    emulation: None,  # noqa: ARG001 - or a reason why there is none
    package_of: BuildPackage,
    two_at_a_time: ThreadPoolExecutor,
) -> Mapping[Architecture, Future[Outcome]]:
    packages = {architecture: package_of(architecture, "0.1.0") for architecture in RECIPES}
    return {name: two_at_a_time.submit(_run, name, package) for name, package in packages.items()}


@pytest.mark.parametrize("architecture", RECIPES)
def test_the_agents_unit_tests_pass(architecture: Architecture, outcomes: Mapping[Architecture, Future[Outcome]]):
    done = outcomes[architecture].result()
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None


def _run(architecture: Architecture, package: Path) -> Outcome:
    with device_with(architecture, package) as device:
        return device.pytest(
            [*_TESTS[architecture], "-k", " and ".join(f"not {name}" for name in _NOT[architecture])], _DEADLINE_S
        )
