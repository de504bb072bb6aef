from dataclasses import replace

import pytest
from msgspec import structs

from exporter.proof.boards import BOARDS, Board, UnknownBoardError, choose_boards, libraries_of
from exporter.proof.cost import Latency, Memory
from exporter.proof.report import Footprint, RuntimeRun, VariantReport

MIB = 1 << 20
SMALL = Board("small", "small board", "armv7", 128 * MIB)


def run(library, *, mb=10, us=5.0, **changes):
    return RuntimeRun(f"{library} 1.0", latency=Latency(us, us), memory=Memory(MIB, mb * MIB, MIB), **changes)


def variant(name, *runs, quality=0.9, size_bytes=1000, accepted=True):
    return VariantReport(name, "onnx", made=True, accepted=accepted, quality=quality, size_bytes=size_bytes, runs=runs)


def chosen(*variants, board=SMALL, max_loss=0.005):
    return choose_boards(variants, max_loss, (board,))[0]


def test_a_board_gets_what_has_a_library_for_its_architecture():
    found = chosen(variant("onnx", run("onnxruntime")), variant("tflite", run("ai-edge-litert"), run("tflite-runtime")))
    assert (found.variant, found.implementation) == ("tflite", "tflite-runtime 1.0")


def test_where_there_is_no_library_the_board_gets_nothing_and_is_told_why():
    found = chosen(variant("onnx", run("onnxruntime")))
    assert found.variant == ""
    assert found.reason == "armv7 runs native, tflite-runtime only; accepted are onnx"


def test_a_microcontroller_gets_only_what_is_source():
    board = Board("tiny", "tiny board", "cortex-m", 256 << 10)
    assert chosen(variant("native", run("native", mb=0)), board=board).variant == ""
    assert chosen(variant("native", run("native")), variant("c", RuntimeRun("c")), board=board).variant == "c"


def test_what_takes_more_than_a_quarter_of_the_memory_does_not_suit():
    fits, too_large = variant("a", run("native", mb=32)), variant("b", run("native", mb=33), quality=1.0)
    assert chosen(fits, too_large).variant == "a"
    assert chosen(too_large).reason == "b, the least, takes 35 MB, a quarter of the board is 34 MB"


def test_quality_decides_before_memory_but_only_beyond_the_bound():
    good, light = (
        variant("good", run("native", mb=30), quality=0.9),
        variant("light", run("native", mb=5), quality=0.896),
    )
    assert chosen(good, light).variant == "light"
    assert chosen(good, light, max_loss=0.003).variant == "good"


def test_what_a_variant_has_over_the_original_is_chance_and_does_not_count():
    lucky = structs.replace(variant("lucky", run("native", mb=30), quality=0.95), original_quality=0.9)
    light = structs.replace(variant("light", run("native", mb=5), quality=0.9), original_quality=0.9)
    assert chosen(lucky, light).variant == "light"


def test_of_equally_good_ones_memory_then_time_then_bytes_decide_beyond_what_is_noise():
    assert chosen(variant("a", run("native", mb=20)), variant("b", run("native", mb=9, us=50.0))).variant == "b"
    assert chosen(variant("a", run("native", mb=9, us=5.0)), variant("b", run("native", mb=8, us=50.0))).variant == "a"
    alike = variant("a", run("native", us=5.0), size_bytes=9), variant("b", run("native", us=4.6), size_bytes=10)
    assert chosen(*alike).variant == "a"


def test_what_failed_on_a_library_or_was_refused_does_not_suit():
    assert chosen(variant("a", run("native"), accepted=False)).reason == "no variant was accepted"
    assert chosen(variant("a", run("native", refusal="wrong"))).variant == ""


def test_what_was_not_proved_here_comes_after_what_was_and_is_said_to_be_unproved():
    unproved = variant("a", run("onnxruntime"), RuntimeRun("tflite-runtime", not_run="no environment"))
    assert chosen(unproved, variant("b", run("native", mb=30))).variant == "b"
    found = chosen(unproved)
    assert found.variant == "a"
    assert "not proved on tflite-runtime here: no environment" in found.reason


def test_every_architecture_that_the_agent_is_built_for_has_a_board():
    assert {board.architecture for board in BOARDS} == {"armv6", "armv7", "aarch64", "x86-64", "cortex-m"}


def test_a_microcontroller_gets_source_only_if_its_tables_fit_into_the_flash():
    board = Board("tiny", "tiny board", "cortex-m", 256 << 10, flash_bytes=100_000)
    header = structs.replace(
        variant("c", RuntimeRun("c")), footprints=(Footprint("Cortex-M4", flash_bytes=100_001, stack_bytes=1000),)
    )
    assert chosen(header, board=board).reason == "c, the least, takes 100.0 kB of flash, the board has 100.0 kB"
    roomy = replace(board, flash_bytes=MIB)
    assert chosen(header, board=roomy).variant == "c"


def test_boards_are_known_by_the_keys_that_projects_use():
    assert libraries_of(("pi-zero",)) == {"native"}
    assert libraries_of(("cortex-m",)) == {"c"}
    with pytest.raises(UnknownBoardError, match="pi-5"):
        libraries_of(("pi-5",))
