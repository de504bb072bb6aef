import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from tests.unit.trainer.cli.projects import N_ROWS, write_small_project
from trainer.cli.application import app
from trainer.project.loading import load_project

MORE = """
[alerts]
webhook = "https://chat.example.org/hooks/plant"

[triggers]
schedule = "0 3 * * 1"

[stores]
metadata = "http://models.example:5000"
"""


def sample(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(app, ["sample", *map(str, arguments)])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = write_small_project(tmp_path)
    file = folder / "fieldloop.toml"
    file.write_text(file.read_text() + MORE)
    return folder


def test_a_sample_has_few_rows_of_every_label_in_their_order_and_keeps_to_itself(project: Path) -> None:
    out = project / "build" / "sample"
    done = sample(out, "--project", project, "--rows", 100, "--trials", 1)
    assert done.exit_code == 0, done.output
    copy, original = load_project(out), load_project(project)
    rows = pq.read_table(out / "rows.parquet")
    assert 95 <= rows.num_rows <= 105
    assert set(rows.column("quality").to_pylist()) == {"good", "scrap"}
    lines = (project / "rows.csv").read_text().splitlines()[1:]
    taken = [",".join(row.values()) for row in rows.to_pylist()]
    places = [lines.index(line) for line in taken]
    assert places == sorted(places)
    assert places[-1] > N_ROWS * 0.9
    assert copy.project.name == "quality-sample"
    assert copy.stores.metadata is None
    assert copy.project.alerts.webhook is None
    assert copy.project.triggers.schedule is None
    assert copy.project.training.trials == 1
    assert copy.project.gate.max_chance == 1.0
    assert copy.project.features == original.project.features
    assert copy.project.target == original.project.target
    assert copy.project.export == original.project.export


def test_rows_that_are_few_already_are_all_taken(project: Path) -> None:
    done = sample(project / "copy", "--project", project, "--json")
    assert json.loads(done.output)["rows"] == N_ROWS


def test_a_rare_label_is_in_the_sample(project: Path) -> None:
    lines = (project / "rows.csv").read_text().splitlines()
    rare = [f"0.1,{n},rare" for n in range(45)]
    (project / "rows.csv").write_text("\n".join([*lines, *rare]) + "\n")
    assert sample(project / "copy", "--project", project, "--rows", 60).exit_code == 0
    labels = pq.read_table(project / "copy" / "rows.parquet").column("quality").to_pylist()
    assert labels.count("rare") == 40


def test_a_sample_is_never_written_over_the_project_nor_unasked_over_another(project: Path) -> None:
    before = (project / "fieldloop.toml").read_text()
    assert sample(project, "--project", project, "--force").exit_code == 2
    assert (project / "fieldloop.toml").read_text() == before
    assert sample(project / "copy", "--project", project).exit_code == 0
    refused = sample(project / "copy", "--project", project)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert sample(project / "copy", "--project", project, "--force").exit_code == 0
