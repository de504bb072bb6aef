"""Every family in every variant: exact, quantised or refused by name, as `docs/coverage.md` says."""

import difflib

import pytest

from edge_agent.engine.loading import load_engine
from exporter.c.compile import host_compiler
from exporter.variants import FORMS
from tests.integration.exporter.coverage.cells import text_of
from tests.integration.exporter.coverage.estimators import estimator_makers
from tests.integration.exporter.coverage.measuring import Cell
from tests.integration.exporter.coverage.page import GROUPS, PAGE, WRITE, write_page
from tests.integration.exporter.coverage.table import Line, measure_all
from tests.unit.exporter.every_estimator import CLASSES, MULTIPLE, REFUSED

# What every family that can be read must have, but for the cells listed here, each with the reason why no correct form
# exists or pays. There is none: add to it only what docs/coverage.md can tell people.
ALWAYS = ("onnx-fp32", "tflite-fp32", "native", "native-int8", "c")
EXCEPTIONS: dict[tuple[str, str], str] = {}
# Why a variant may be refused; another reason is a gap of a writer.
REASONS = (
    "a tree ensemble has nothing to quantise in ONNX",
    "a kernel over stored vectors has nothing to quantise in ONNX",
    "it has no product of a network to quantise",
    "the model has no layers, kernels or trees to quantise",
)


@pytest.fixture(scope="module")
def lines() -> tuple[Line, ...]:
    if host_compiler() is None:
        pytest.skip("no C compiler here (Debian: gcc), which proves the form c")
    try:
        load_engine()
    except ImportError as error:
        pytest.skip(f"no native engine here: {error}")
    return measure_all()


@pytest.mark.slow
def test_the_documented_table_is_what_is_measured(lines):
    documented = PAGE.read_text()
    made = write_page(lines, documented)
    difference = "\n".join(difflib.unified_diff(documented.splitlines(), made.splitlines(), "documented", "made", n=0))
    assert made == documented, (
        f"docs/coverage.md is not what was measured; if that is right: {WRITE}\n{difference[:4000]}"
    )


@pytest.mark.slow
def test_no_variant_is_made_that_answers_otherwise(lines):
    wrong = [
        f"{line.group}, {line.name}, {variant}: {cell.reason}"
        for line in lines
        for variant, cell in line.cells.items()
        if cell.outcome == "wrong"
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_every_family_has_a_form_for_every_runtime(lines):
    refused = [
        f"{line.group}, {line.name}, {variant}: {line.cells[variant].reason}"
        for line in lines
        for variant in ALWAYS
        if line.cells[variant].outcome == "refused" and (line.name, variant) not in EXCEPTIONS
    ]
    assert not refused, "\n".join(refused)


@pytest.mark.slow
def test_a_refusal_names_the_step_and_one_of_the_known_reasons(lines):
    for line in lines:
        for variant, cell in line.cells.items():
            if cell.outcome == "refused":
                assert cell.reason.startswith("step `"), cell.reason
                assert f"is not supported for {variant}: " in cell.reason
                assert any(reason in cell.reason for reason in REASONS), f"{line.name}, {variant}: {cell.reason}"


@pytest.mark.slow
def test_every_line_has_its_group_and_a_name_of_its_own(lines):
    assert {line.group for line in lines} == set(GROUPS)
    assert len({(line.group, line.name) for line in lines}) == len(lines)
    assert all(set(line.cells) == set(FORMS) for line in lines)


def test_every_estimator_of_scikit_learn_is_tried_or_refused_by_name():
    assert len(estimator_makers()) == len(set(CLASSES) - REFUSED - MULTIPLE)
    page = PAGE.read_text()
    assert [name for name in CLASSES if f"`{name}`" not in page] == []


def test_a_bound_has_room_and_stays_while_it_holds_and_is_not_far_too_wide():
    def exact(difference, documented=""):
        return text_of(Cell("exact", difference), documented, decides=True)

    assert exact(0.0) == exact(3e-7) == "≤ 1e-6"
    assert exact(4e-7) == "≤ 1e-5"
    assert exact(9e-7, "≤ 1e-6") == "≤ 1e-6"
    assert exact(1.1e-6, "≤ 1e-6") == "≤ 1e-5"
    assert exact(1e-8, "≤ 1e-4") == "≤ 1e-4"
    assert exact(1e-8, "≤ 1e-3") == "≤ 1e-6"
    assert exact(0.5) == "≤ 10"


def test_a_share_has_room_and_stays_while_it_holds_and_is_not_far_too_low():
    def int8(agreement, documented="", *, decides=True):
        return text_of(Cell("int8", 1e-3, agreement), documented, decides=decides)

    assert int8(1.0) == "int8 ≤ 1e-2, ≥ 99 %"
    assert int8(0.993) == "int8 ≤ 1e-2, ≥ 98 %"
    assert int8(0.991, "int8 ≤ 1e-2, ≥ 99 %") == "int8 ≤ 1e-2, ≥ 99 %"
    assert int8(0.985, "int8 ≤ 1e-2, ≥ 99 %") == "int8 ≤ 1e-2, ≥ 98 %"
    assert int8(1.0, "int8 ≤ 1e-2, ≥ 95 %") == "int8 ≤ 1e-2, ≥ 95 %"
    assert int8(1.0, "int8 ≤ 1e-2, ≥ 80 %") == "int8 ≤ 1e-2, ≥ 99 %"
    assert int8(1.0, decides=False) == "int8 ≤ 1e-2"


def test_what_is_refused_or_wrong_says_so_whatever_is_documented():
    assert text_of(Cell("refused"), "≤ 1e-6", decides=True) == "–"
    assert text_of(Cell("wrong", 0.5), "≤ 1e-6", decides=True) == "wrong"
