import html
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from trainer.cli.application import app
from trainer.project.loading import load_project


def write_rows(folder: Path, n_rows: int = 600) -> Path:
    rng = np.random.default_rng(1)
    heat, load, kind = rng.normal(size=n_rows), rng.normal(size=n_rows), rng.integers(0, 2, n_rows)
    state = (heat + 0.5 * load + 0.4 * rng.normal(size=n_rows) > 0).astype(int)
    leak = state + rng.normal(scale=0.1, size=n_rows)
    lines = ["heat,load,<kind>,leak,state"]
    lines += [
        f"{heat[row]:.4f},{'' if row % 9 == 0 else f'{load[row]:.4f}'},{'<b>' if kind[row] else 'cold'},"
        f"{leak[row]:.4f},{'bad' if state[row] else 'good'}"
        for row in range(n_rows)
    ]
    path = folder / "oven.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments: str | Path):
    return CliRunner().invoke(app, ["experiment", *map(str, arguments)])


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    result = run(write_rows(folder), "--target", "state", "--project", folder, "--trials", "2", "--json")
    assert result.exit_code == 0, result.output
    return folder, json.loads(result.stdout)


def test_an_experiment_writes_a_page_a_project_and_a_schema_and_no_metadata_store(played):
    folder, told = played
    assert (folder / "experiment" / "report.html").samefile(told["report"])
    loaded = load_project(folder)
    assert loaded.project.data.rows is None, "all rows are analysed"
    assert loaded.project.schema is not None
    assert [column["name"] for column in tomllib.loads((folder / "schema.toml").read_text())["columns"]] == [
        "heat",
        "load",
        "<kind>",
        "leak",
    ]
    assert not list(folder.rglob("mlflow.db"))
    assert not list(folder.rglob("runs"))


def test_a_copy_of_the_target_is_named_first_with_what_to_do(played):
    _, told = played
    first = told["findings"][0]
    assert (first["grade"], first["kind"]) == ("grave", "leakage")
    assert "leak may leak the target" in first["text"]
    assert "--leave-out leak" in first["text"]


def test_the_model_is_examined_on_rows_that_it_never_saw(played):
    _, told = played
    model = told["model"]
    assert model["rows"] == 120
    assert model["overall"]["low"] <= model["overall"]["value"] <= model["overall"]["high"]
    assert model["importance"][0]["name"] == "leak"
    assert {part["group"] for part in model["slices"]} >= {"time", "truth", "leak", "<kind>"}
    assert sum(map(sum, model["confusion"])) == 120
    assert sum(item["rows"] for item in model["calibration"]) == 120


class Loads(HTMLParser):
    """Collects what a browser would fetch, and the pages in frames."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.frames: list[str] = []
        self.policies: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "meta" and values.get("http-equiv"):
            self.policies.append(values["content"])
        if tag == "link":
            self.fetched.append(values.get("href", ""))
        self.fetched += [value for name, value in attrs if name in {"src", "srcset", "data", "poster", "action"}]
        if "srcdoc" in values:
            self.frames.append(values["srcdoc"])


def test_the_page_is_one_file_that_loads_nothing_and_shows_names_from_the_data_as_text(played):
    _, told = played
    page = Path(told["report"]).read_text()
    outer = Loads()
    outer.feed(page)
    assert len(outer.frames) == 1, "skrub's page of the columns"
    inner = Loads()
    inner.feed(outer.frames[0])
    assert [address for address in outer.fetched + inner.fetched if not address.startswith("data:")] == []
    assert outer.policies == [policy for policy in outer.policies if policy.startswith("default-src 'none'")] != []
    assert "http" not in outer.policies[0]
    assert "&lt;kind&gt;" in page
    assert "<kind>" not in page
    assert "<b>cold" not in page


def sections_of(page):
    """Text and number of charts of each section of the page."""
    found = {}
    for part in page.split('<section id="')[1:]:
        name, _, content = part.partition('"')
        inside = content.partition("</section>")[0]
        found[name] = (re.sub(r"<[^>]*>", " ", inside), inside.count("<svg"))
    return found


def test_the_page_has_every_part_of_the_report_with_what_was_found(played):
    folder, told = played
    numbers = json.loads((folder / "experiment" / "analysis.json").read_bytes())
    model, found = told["model"], sections_of(Path(told["report"]).read_text())
    assert [name for name, (_, charts) in found.items() if not charts] == ["findings", "errors", "browse"]
    text = {name: words for name, (words, _) in found.items()}
    for finding in told["findings"]:
        assert finding["text"] in html.unescape(text["findings"])
    for name in ("heat", "load", "leak"):
        assert all(name in text[part] for part in ("inputs", "leakage", "drift", "correlation", "importance"))
    # Of load every ninth value is missing, of the others none.
    assert "11.2%" in text["inputs"]
    assert "load" in text["missing"]
    assert "heat" not in text["missing"]
    for label, count in zip(numbers["data"]["target"]["labels"], numbers["data"]["target"]["counts"], strict=True):
        assert label in text["target"]
        assert f"{count:,} ({count / 600:.1%})" in text["target"]
    assert f"{numbers['data']['correlations'][-1][3]:.2f}"[:5] in text["correlation"]
    assert f"{model['overall']['value']:.3f}" in text["evaluation"]
    assert all(f"{count:,}" in text["evaluation"] for row in model["confusion"] for count in row)
    assert f"{model['importance'][0]['loss']:.4f}" in text["importance"]
    for part in model["slices"]:
        assert f"{part['quality']['value']:.3g} · {part['rows']:,} rows" in text["slices"]
    assert f"{model['calibration_error']:.3f} off" in text["calibration"]
    assert bool(model["errors"]) != ("No wrong answer" in text["errors"])
    for error in model["errors"]:
        assert f"{error['row']:,}" in text["errors"]
        assert f"{error['unusual'][0][0]} = " in html.unescape(text["errors"])


def test_the_project_that_was_written_is_ready_and_an_experiment_over_it_needs_no_more_words(played):
    folder, _ = played
    again = run("--project", folder, "--trials", "1", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["model"]["rows"] == 120


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--target", "state"], 2, "belong to DATA"),
        (["oven.csv"], 2, "--target"),
        (["oven.csv", "--target", "stat"], 3, "state"),
        (["missing.csv", "--target", "state"], 3, "missing.csv"),
        ([], 2, "fieldloop.toml"),
    ],
)
def test_what_is_missing_is_told_with_an_exit_code(arguments, code, words, tmp_path, monkeypatch):
    write_rows(tmp_path, 30)
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code
    assert words in result.output


def test_a_project_that_is_there_is_not_overwritten_unasked(tmp_path):
    data = write_rows(tmp_path, 30)
    (tmp_path / "fieldloop.toml").write_text("mine")
    result = run(data, "--target", "state", "--project", tmp_path)
    assert result.exit_code == 2
    assert (tmp_path / "fieldloop.toml").read_text() == "mine"
