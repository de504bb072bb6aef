"""The native engine, built for each architecture of the devices, answers there as it does here."""

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.engine.compile import FLAGS, sources
from edge_agent.engine.face import PORTABLE
from exporter.native.file import encode_program
from exporter.programs.interpreter import run_program
from exporter.programs.program import (
    Complement,
    Coupling,
    Curve,
    Linear,
    Program,
    ProgramBuilder,
    Scale,
    Softmax,
    Trees,
)
from tests.unit.exporter.grown_trees import Shape, grow, rows_for

RUNNER = Path(__file__).with_name("native_runner.c")
BUILD_TIMEOUT_S, RUN_TIMEOUT_S = 600, 120


@dataclass(frozen=True)
class Board:
    """An architecture.

    Attributes:
        engine: flags that the engine is compiled with.
        libc: flags that the program is linked with: static, so that nothing else is needed. What links for ARMv6 serves
            ARMv7 too, and zig need not build its C library twice.
        emulator: of qemu-user.
        cpu: a real processor: an instruction that it lacks ends the run.
    """

    engine: tuple[str, ...]
    libc: tuple[str, ...]
    emulator: str
    cpu: str
    bands: bool


ARM = ("-target", "arm-linux-musleabihf")
ARMV6 = (*ARM, "-mcpu=arm1176jzf_s")
BOARDS = {
    "aarch64": Board(
        ("-target", "aarch64-linux-musl"),
        ("-target", "aarch64-linux-musl"),
        "qemu-aarch64-static",
        "cortex-a53",
        bands=True,
    ),
    "armv7": Board((*ARM, "-mcpu=generic+v7a+vfp3d16"), ARMV6, "qemu-arm-static", "cortex-a9", bands=False),
    "armv6": Board(ARMV6, ARMV6, "qemu-arm-static", "arm1176", bands=False),
}


@cache
def runner(name: str, folder: Path) -> Path:
    board, zig = BOARDS[name], (sys.executable, "-m", "ziglang", "cc")
    objects = folder / name
    objects.mkdir()
    flags = [flag for flag in FLAGS if flag != "-fPIC"]
    for path in (*sources(), RUNNER):
        if not path.name.startswith("extension"):
            compiled = [*zig, *board.engine, *flags, "-fno-sanitize=all", f"-I{sources()[0].parent}", "-c", str(path)]
            subprocess.run(
                [*compiled, "-o", str(objects / f"{path.stem}.o")],
                check=True,
                timeout=BUILD_TIMEOUT_S,
                capture_output=True,
            )
    made = folder / f"runner-{name}"
    parts = [str(path) for path in sorted(objects.iterdir())]
    subprocess.run(
        [*zig, *board.libc, "-static", "-o", str(made), *parts, "-lm"],
        check=True, timeout=BUILD_TIMEOUT_S, capture_output=True,
    )  # fmt: skip
    return made


@pytest.fixture(params=list(BOARDS))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs the package ziglang, which compiles for every architecture")
    if shutil.which(BOARDS[found].emulator) is None:
        pytest.skip(f"needs {BOARDS[found].emulator}, of Debian's qemu-user-static")
    return found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runners")


def programs() -> dict[str, tuple[Program, NDArray[np.float32]]]:
    """Models of each kind of arithmetic, with rows that are on and next to thresholds, missing and odd."""
    found: dict[str, tuple[Program, NDArray[np.float32]]] = {}
    for what, shape in {
        "bands": Shape(n_trees=90, n_features=12, most_leaves=32),
        "narrow": Shape(most_leaves=200, one_output=False),
        "wide": Shape(n_features=2, n_thresholds=400, most_leaves=900),
        "plain": Shape(n_features=2500, most_leaves=2500, n_trees=4),
    }.items():
        ensemble = grow(shape)
        builder = ProgramBuilder(shape.n_features)
        found[what] = builder.build(builder.add(Trees(0, ensemble))), rows_for(ensemble, 100)
    rng = np.random.default_rng(0)
    builder = ProgramBuilder(30)
    scaled = builder.add(Scale(0, rng.normal(size=30), rng.random(30) + 0.1))
    hidden = builder.add(Curve(builder.add(Linear(scaled, rng.normal(size=(30, 50)) / 6, rng.normal(size=50))), "tanh"))
    last = builder.add(Softmax(builder.add(Linear(hidden, rng.normal(size=(50, 5)), rng.normal(size=5)))))
    found["network"] = builder.build(last), rng.normal(size=(100, 30)).astype(np.float32)
    builder = ProgramBuilder(3)
    found["pairs"] = builder.build(builder.add(Coupling(0, 3))), rng.random((50, 3)).astype(np.float32)
    builder = ProgramBuilder(1)
    last = builder.add(Complement(builder.add(Curve(0, "logistic"))))
    found["curve"] = builder.build(last), np.linspace(-20, 20, 101, dtype=np.float32)[:, np.newaxis]
    return found


# Where zig has to build its C library first, that takes a minute or two an architecture.
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_answers_there_are_those_of_the_program(name: str, folder: Path, tmp_path: Path):
    there = runner(name, folder)
    for what, (program, rows) in programs().items():
        path = tmp_path / what
        path.write_bytes(encode_program(program))
        for flags in (0, PORTABLE):
            emulated = [BOARDS[name].emulator, "-cpu", BOARDS[name].cpu, str(there), str(path), str(flags)]
            done = subprocess.run(
                emulated, input=rows.tobytes(), capture_output=True, check=True, timeout=RUN_TIMEOUT_S
            )
            answers = np.frombuffer(done.stdout, dtype=np.float32).reshape(len(rows), program.n_outputs)
            expected = run_program(program, rows)
            np.testing.assert_allclose(answers, expected, rtol=1e-6, atol=1e-6, err_msg=f"{what} on {name}")
            if program.n_outputs > 1:
                np.testing.assert_array_equal(answers.argmax(axis=1), expected.argmax(axis=1))
            if what == "bands":
                layout = "bands" if BOARDS[name].bands and flags != PORTABLE else "narrow"
                assert done.stderr.decode().split() == [layout]
