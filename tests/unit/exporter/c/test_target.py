"""The C header: what it answers, on this machine and on emulated ARM, and what it takes on a microcontroller."""

import shutil
import subprocess

import numpy as np
import pytest

from exporter.c.compile import (
    ARM_COMPILER,
    CORTEX_M0,
    CORTEX_M4,
    FLAGS,
    CompiledHeader,
    compile_c,
    host_compiler,
    measure_microcontroller,
    zig_compiler,
)
from exporter.c.target import choose_vectors, header_of, plan_stack, vectors_of
from exporter.c.text import comment_text, float_text, identifier, integers
from exporter.errors import ConversionError
from exporter.programs.interpreter import run_program
from exporter.programs.program import Scale, Trees, sources_of
from tests.unit.exporter.example_programs import EXAMPLES

HOST = host_compiler() or ()
needs_compiler = pytest.mark.skipif(not HOST, reason="no C compiler here")


def _vectors(example, folder):
    """Write the header and the test vectors of an example; return the path of the program's source."""
    program, rows = EXAMPLES[example]
    chosen, expected = choose_vectors(rows, run_program(program, rows).astype(np.float64))
    (folder / "model_1.h").write_text(header_of(program, "model 1"))
    source = folder / "vectors.c"
    source.write_text(vectors_of("model 1", chosen, expected, 1e-4))
    return source


@needs_compiler
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_header_answers_as_the_program_does(example, tmp_path) -> None:
    program, rows = EXAMPLES[example]
    path = tmp_path / "toy.h"
    path.write_text(header_of(program, "toy"))
    compiled = CompiledHeader(path, program.n_features, program.n_outputs)
    got = np.array(compiled.score_batch(rows.tolist()))
    compiled.close()
    expected = run_program(program, rows)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


@needs_compiler
def test_trees_behind_a_scaler_decide_as_the_library_on_every_threshold(tmp_path) -> None:
    program, _ = EXAMPLES["trees behind a scaler"]
    scale, trees = program.nodes[1].operation, program.nodes[2].operation
    assert isinstance(scale, Scale)
    assert isinstance(trees, Trees)
    rng = np.random.default_rng(0)
    columns = [rng.choice(np.append(t, np.float32(0)), 3000) for t in trees.ensemble.thresholds()]
    rows = (np.stack(columns, axis=1) * scale.scales + scale.means).astype(np.float32)
    path = tmp_path / "toy.h"
    path.write_text(header_of(program, "toy"))
    compiled = CompiledHeader(path, program.n_features, program.n_outputs)
    np.testing.assert_allclose(compiled.score_batch(rows.tolist()), run_program(program, rows), atol=1e-6)


@needs_compiler
@pytest.mark.parametrize("example", ["trees of vectors", "dense network", "coupling"])
def test_test_vectors_pass_here_and_fail_when_an_answer_is_another(example, tmp_path) -> None:
    source = _vectors(example, tmp_path)
    compile_c(HOST, source, tmp_path / "vectors")
    assert subprocess.run([tmp_path / "vectors"], check=False).returncode == 0

    program, rows = EXAMPLES[example]
    wrong = run_program(program, rows).astype(np.float64) + 0.01
    source.write_text(vectors_of("model 1", *choose_vectors(rows, wrong), 1e-4))
    compile_c(HOST, source, tmp_path / "vectors")
    assert subprocess.run([tmp_path / "vectors"], check=False).returncode == 1


@pytest.mark.parametrize(
    ("target", "emulator"),
    [("aarch64-linux-musl", "qemu-aarch64-static"), ("arm-linux-musleabihf", "qemu-arm-static")],
)
@pytest.mark.parametrize("example", ["trees of vectors", "dense network", "trees with categories", "kernel rbf"])
def test_test_vectors_pass_on_emulated_arm(target, emulator, example, tmp_path) -> None:
    compiler = zig_compiler(target)
    if compiler is None or shutil.which(emulator) is None:
        pytest.skip(f"needs the ziglang package and {emulator} (Debian: qemu-user-static)")
    source = _vectors(example, tmp_path)
    compile_c(compiler, source, tmp_path / "vectors", flags=(*FLAGS, "-static"))
    done = subprocess.run([emulator, tmp_path / "vectors"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("machine", [CORTEX_M4, CORTEX_M0])
@pytest.mark.parametrize("example", ["trees of vectors", "dense network", "coupling", "interpolate"])
def test_a_header_is_weighed_for_a_cortex_m(example, machine) -> None:
    if shutil.which(ARM_COMPILER) is None:
        pytest.skip(f"needs {ARM_COMPILER} (Debian: gcc-arm-none-eabi)")
    program, _ = EXAMPLES[example]
    size = measure_microcontroller(header_of(program, "toy").encode(), machine)
    assert not isinstance(size, str)
    # All tables are const: they take flash, and no variable lives between two rows.
    assert size.ram_bytes == 0
    assert size.flash_bytes > 100
    assert size.stack_bytes >= 4 * plan_stack(program)[1]


def test_without_an_arm_compiler_it_says_what_is_missing(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    told = measure_microcontroller(b"")
    assert isinstance(told, str)
    assert "gcc-arm-none-eabi" in told


@needs_compiler
def test_a_header_that_does_not_compile_is_an_error_with_the_compilers_words(tmp_path) -> None:
    source = tmp_path / "broken.c"
    source.write_text("int main(void) { return nothing; }")
    with pytest.raises(ConversionError, match="nothing"):
        compile_c(HOST, source, tmp_path / "broken")


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_vector_is_overwritten_while_it_is_needed(example) -> None:
    program, _ = EXAMPLES[example]
    starts, size = plan_stack(program)
    for place, start in starts.items():
        end = start + program.nodes[place].width
        assert end <= size
        last = max((p for p, n in enumerate(program.nodes) if place in sources_of(n.operation)), default=place)
        for other in range(place + 1, last + 1):
            if other in starts:
                assert starts[other] >= end or starts[other] + program.nodes[other].width <= start


def test_the_same_program_gives_the_same_header() -> None:
    program, _ = EXAMPLES["trees of vectors"]
    assert header_of(program, "toy") == header_of(program, "toy")


def test_numbers_are_written_exactly() -> None:
    for value in (0.1, -3.0, 1e-45, 3.4e38, 16777217.0, 0.0):
        assert np.float32(float.fromhex(float_text(value).rstrip("f"))) == np.float32(value)
    assert float_text(float("inf")) == "INFINITY"


def test_integers_take_the_smallest_type() -> None:
    assert "uint8_t" in integers("x", [0, 255])
    assert "uint16_t" in integers("x", [0, 256])
    assert "uint32_t" in integers("x", [0, 70000])
    with pytest.raises(ValueError, match="-1"):
        integers("x", [-1])


def test_names_and_texts_from_outside_cannot_leave_their_place() -> None:
    assert identifier("Rain forecast/3") == "rain_forecast_3"
    assert identifier("3d") == "model_3d"
    assert identifier("int") == "model_int"
    assert identifier("*/ evil") == "evil"
    assert "*/" not in comment_text("a */ int evil; /* b\n#define x")
    assert "\n" not in comment_text("a\nb")
