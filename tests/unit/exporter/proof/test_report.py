import io
import json
import re
from html.parser import HTMLParser

import msgspec
import pytest
from jsonschema import validate
from msgspec.structs import replace
from rich.console import Console

from exporter.proof.cost import Latency
from exporter.proof.proving import Surroundings
from exporter.proof.report import parse_report, report_json, report_schema
from exporter.proof.report_html import report_html
from exporter.proof.report_text import report_markdown, report_table, report_view
from tests.conftest import REPOSITORY
from tests.unit.exporter.families import export, learn
from tests.unit.exporter.repositories import SetClock


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return export(learn("forest", "digits"), tmp_path_factory.mktemp("report"), "onnx-fp32", "onnx-int8")


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """A report with a variant that failed its gate."""
    folder = tmp_path_factory.mktemp("refused")
    return export(learn("mlp", "digits"), folder, "onnx-fp32", "onnx-int8", max_parity_loss=-0.5)


def shown(renderable, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(renderable)
    return out.getvalue()


def test_a_report_is_read_back_as_it_was_written(report):
    assert parse_report(report_json(report)) == report


def test_a_report_fits_its_published_schema(report, refused):
    published = json.loads((REPOSITORY / "docs" / "export-report.schema.json").read_bytes())
    for found in (report, refused):
        validate(json.loads(report_json(found)), published)


def test_the_published_schema_is_that_of_the_code():
    message = (
        "write docs/export-report.schema.json anew from exporter.proof.report.report_schema(), and think of old readers"
    )
    assert (REPOSITORY / "docs" / "export-report.schema.json").read_bytes() == report_schema(), message


def test_a_report_of_another_version_is_not_taken_for_one_of_this():
    with pytest.raises(msgspec.ValidationError):
        parse_report(b'{"schema": 2}')


def test_markdown_has_a_line_for_each_variant_with_its_verdict(report):
    lines = report_markdown(report).splitlines()
    assert any(line.startswith("| onnx-fp32 |") and line.endswith("| accepted |") for line in lines)
    assert any(line.startswith("| onnx-int8 | –") and "nothing to quantise" in line for line in lines)


def test_the_table_fits_a_terminal_and_says_why_something_was_refused(report):
    text = shown(report_table(report))
    assert "RandomForestClassifier" in text
    assert "…" not in text
    assert "nothing to quantise" in " ".join(text.split())


def test_a_refused_variant_shows_its_ten_worst_rows_with_the_features_that_matter(refused):
    text = shown(report_view(refused), width=120)
    worst = text.split("refused; the rows that differ most")[1].split("Which variant")[0]
    rows = [line for line in worst.splitlines() if re.match(r" \d+ ", line)]
    assert len(rows) == 10
    assert all(re.search(r"f\d+=", row) for row in rows)
    # Real rows that are decided otherwise come first.
    assert "evaluation" in rows[0]
    assert "the rows that differ most" in report_markdown(refused)


def test_a_library_that_was_not_run_is_named_everywhere(tmp_path):
    found = export(learn("logistic", "cancer"), tmp_path, "tflite-fp32")
    for text in (shown(report_view(found), 120), report_markdown(found), report_html(found)):
        assert "not run: tflite-runtime" in text or "not run: ai-edge-litert" in text or "not installed here" in text


class Page(HTMLParser):
    """Collects what a page would load, and checks that its tags close."""

    def __init__(self):
        super().__init__()
        self.loads, self.open, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in {"src", "href", "xlink:href"}]
        self.loads += [tag] if tag in {"script", "link", "img", "iframe"} else []
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", ["report", "refused"])
def test_the_page_loads_nothing_and_its_tags_close(name, request):
    page = Page()
    text = report_html(request.getfixturevalue(name))
    page.feed(text)
    assert page.loads == []
    assert page.open == []
    assert "url(" not in text
    assert "prefers-color-scheme:dark" in text


def test_names_of_a_user_cannot_break_the_page_or_the_markdown(report):
    odd = replace(report, model="<script>x|y</script>", notes=("<img src=x>",))
    assert "<script" not in report_html(odd)
    assert "<img" not in report_html(odd)
    assert "<img" not in report_markdown(odd)


def test_nothing_but_measured_times_depends_on_the_clock(tmp_path):
    learnt = learn("mlp", "cancer")
    found = [
        export(learnt, tmp_path / str(n), "auto", clock=clock, surroundings=Surroundings((), weighs=False))
        for n, clock in enumerate((None, SetClock(7.0), Stumbling()))
    ]
    # Which variant is the fastest is a measured time too, and so is the board's choice that follows from it.
    timeless = [
        replace(
            report,
            variants=tuple(
                replace(v, latency=NO_TIME, runs=tuple(replace(r, latency=r.latency and NO_TIME) for r in v.runs))
                for v in report.variants
            ),
            boards=(),
        )
        for report in found
    ]
    assert found[0] != found[2], "the clocks are looked at"
    for tell in (report_json, report_markdown, report_html):
        assert tell(timeless[0]) == tell(timeless[1]) == tell(timeless[2])


NO_TIME = Latency(1.0, 2.0, 3.0, 4.0)


class Stumbling(SetClock):
    """Each look at it costs a little more than the one before."""

    def __init__(self):
        super().__init__(0.0)
        self.step_s = 0.0

    def monotonic_s(self) -> float:
        self.step_s += 1e-7
        self.now_s += self.step_s
        return self.now_s
