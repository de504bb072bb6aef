"""The codec of packs, built for each architecture of the devices, reads and writes there what Python does here."""

import subprocess
import sys
from pathlib import Path

import pytest

from broker.codec.loading import load_codec
from broker.messages import encode_body, encode_record
from broker.pack_form import write_records
from broker.packs import PACK_VERSION
from edge_agent.engine.compile import CODEC, FLAGS, sources
from tests.arm.test_native_engine import BOARDS, BUILD_TIMEOUT_S, RUN_TIMEOUT_S, name  # noqa: F401 - a fixture
from tests.unit.broker.codec.test_codec import RUNS

RUNNER = Path(__file__).with_name("codec_runner.c")
BEYOND = 4
# Boards of 32 bits leave counts over 2**19 to Python.
GREAT = "great counts"


def build(board: str, folder: Path) -> Path:
    zig = (sys.executable, "-m", "ziglang", "cc")
    made = folder / "codec_runner"
    flags = [flag for flag in FLAGS if flag != "-fPIC"]
    files = [str(path) for path in (*sources(CODEC), RUNNER) if not path.name.startswith("extension")]
    command = [*zig, *BOARDS[board].libc, *flags, "-fno-sanitize=all", "-static", f"-I{CODEC.sources}"]
    subprocess.run([*command, "-o", str(made), *files, "-lm"], check=True, timeout=BUILD_TIMEOUT_S, capture_output=True)
    return made


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_packs_there_are_those_of_here(name: str, tmp_path: Path):  # noqa: F811 - the fixture
    there = build(name, tmp_path)
    assert load_codec() is not None
    for what, records in RUNS.items():
        payloads = [encode_record(key, encode_body(window)) for key, window in records]
        path = tmp_path / "pack"
        path.write_bytes(bytes([PACK_VERSION]) + write_records(records))
        emulated = [BOARDS[name].emulator, "-cpu", BOARDS[name].cpu, str(there), str(path)]
        done = subprocess.run(emulated, capture_output=True, timeout=RUN_TIMEOUT_S, check=False)
        if what == GREAT and name != "aarch64" and done.returncode == BEYOND:
            continue
        assert done.returncode == 0, f"{what}: {done.stderr.decode()}"
        assert done.stdout == b"".join(payloads), what
