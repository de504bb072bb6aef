import io

import pytest
from rich.console import Console

from exporter.report import parse_report, report_json
from exporter.report_text import report_markdown, report_table
from tests.unit.exporter.families import export, learn


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return export(learn("forest", "digits"), tmp_path_factory.mktemp("report"), "onnx-fp32", "onnx-int8")


def test_a_report_is_read_back_as_it_was_written(report):
    assert parse_report(report_json(report)) == report


def test_markdown_has_a_line_for_each_variant_with_its_verdict(report):
    lines = report_markdown(report).splitlines()
    assert any(line.startswith("| onnx-fp32 |") and line.endswith("| accepted |") for line in lines)
    assert any(line.startswith("| onnx-int8 | –") and "nothing to quantise" in line for line in lines)


def test_the_table_fits_a_terminal_and_says_why_something_was_refused(report):
    out = io.StringIO()
    Console(file=out, width=80).print(report_table(report))
    assert "RandomForestClassifier" in out.getvalue()
    assert "…" not in out.getvalue()
    assert "nothing to quantise" in " ".join(out.getvalue().split())
