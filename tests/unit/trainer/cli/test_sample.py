import json
import re
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from tests.unit.trainer.cli.projects import N_ROWS, write_small_project
from tests.unit.trainer.features.view_project import (
    FROM_FILE,
    FROM_VIEW,
    HOURLY,
    SITE,
    hour,
    push_hours,
    store_of,
    table,
    write_labels,
    write_view_project,
)
from trainer.cli.application import app
from trainer.errors import DataError
from trainer.features.source import read_source
from trainer.features.views.view import Source
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


@pytest.mark.parametrize("origin", [FROM_VIEW, FROM_FILE])
def test_rows_of_views_are_drawn_with_what_was_known_at_their_times(tmp_path: Path, origin: str) -> None:
    data = re.sub("view = .*", 'view = ["hourly", "places"]', origin)
    loaded = write_view_project(tmp_path / "project", data, SITE)
    push_hours(loaded, range(100))
    places = table(pump_id=["p1", "p2"], at=[hour(0), hour(50)], site=["south", "north"])
    store_of(loaded).push("places", places)
    if origin == FROM_FILE:
        write_labels(loaded, *(("p1", number + 0.5, "good" if number % 2 else "scrap") for number in range(100)))
    out = tmp_path / "copy"
    done = sample(out, "--project", loaded.folder, "--rows", 80, "--json")
    assert done.exit_code == 0, done.output
    copy = load_project(out)
    assert not copy.project.data.views
    taken = read_source(copy).to_pylist()
    assert 75 <= len(taken) <= 85
    # Each of them is a row that training would read; of the second pump it was not known for long where it stands.
    everything = [{key: row[key] for key in taken[0]} for row in read_source(loaded, 4e9).to_pylist()]
    places_in = [everything.index(row) for row in taken]
    assert places_in == sorted(places_in)
    assert {row["truth"] for row in taken} == {"good", "scrap"}


def test_a_sample_reads_the_sources_of_views_unless_it_is_to_take_what_is_stored(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path / "project", FROM_VIEW)
    push_hours(loaded, range(100))
    source = Source(path=(str(tmp_path / "nowhere.csv"),), timestamp="at", known="known")
    store_of(loaded).catalogue.register(msgspec.structs.replace(HOURLY, source=source))
    refused = sample(tmp_path / "copy", "--project", loaded.folder)
    assert refused.exit_code == DataError.exit_code
    assert "view 'hourly': its source cannot be read" in refused.stderr
    assert sample(tmp_path / "copy", "--project", loaded.folder, "--stored").exit_code == 0
    empty = sample(tmp_path / "other", "--project", loaded.folder, "--store", tmp_path / "empty")
    assert empty.exit_code == DataError.exit_code
    assert "no view" in empty.stderr
