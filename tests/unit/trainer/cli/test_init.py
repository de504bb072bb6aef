import tomllib
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from typer.testing import CliRunner, Result

from edge_agent.bundle import TrialRules
from trainer.cli.application import app
from trainer.cli.init import name_after, path_from
from trainer.cli.project_text import NOT_SET
from trainer.features.source import read_source
from trainer.project.loading import FILE_NAME, load_project
from trainer.project.project import Project

TOYS = ("iris", "wine", "breast_cancer", "digits", "diabetes", "linnerud")


def init(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def machines(folder: Path, n_rows: int = 500) -> Path:
    lines = ["id,when,machine,kind,speed,load,fixed,state"]
    for row in range(n_rows):
        load = "" if row % 7 == 3 else f"{row % 13 / 2}"
        state = "bad" if row % 3 == 0 else "good"
        when = f"2026-01-{row * 28 // n_rows + 1:02d}T00:00:00"
        lines.append(f"{row + 1},{when},m{row % 4},{'AB'[row % 2]},{row % 91}.5,{load},7,{state}")
    return write_csv(folder / "Machines 2026.csv", "\n".join(lines) + "\n")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("toy", TOYS)
def test_a_project_over_a_toy_set_loads_and_its_rows_are_read(toy: str, kind: str, tmp_path: Path) -> None:
    import sklearn.datasets

    frame = getattr(sklearn.datasets, f"load_{toy}")(as_frame=True)
    target = frame.target.name if frame.target.ndim == 1 else frame.target.columns[0]
    data = tmp_path / f"{toy}.{kind}"
    if kind == "csv":
        frame.frame.to_csv(data)
    else:
        frame.frame.to_parquet(data)
    result = init(data, "--target", target, "--project", tmp_path)
    assert result.exit_code == 0, result.output
    loaded = load_project(tmp_path)
    assert loaded.project.target.task == ("regression" if toy in {"diabetes", "linnerud"} else "classification")
    first, last = loaded.project.data.rows or (0, len(frame.frame))
    assert read_source(loaded).num_rows == last - first
    assert "" not in {feature.name for feature in loaded.project.features}


def test_what_is_seen_in_the_columns_is_written_down(tmp_path: Path) -> None:
    data = machines(tmp_path)
    result = init(data, "--target", "state", "--project", tmp_path)
    assert result.exit_code == 0, result.output
    project = load_project(tmp_path).project
    assert project.name == "machines-2026"
    assert project.data.path == ("Machines 2026.csv",)
    assert project.data.timestamp == "when"
    assert project.data.entity == "machine"
    assert project.data.rows == (0, 250)
    assert project.target.labels == ("bad", "good")
    kind, speed, load = project.features
    assert (kind.name, kind.dtype, kind.categories) == ("kind", "category", ("A", "B"))
    assert speed.name == "speed"
    assert speed.valid_min == 0.0
    assert speed.valid_max is not None
    assert speed.valid_max > 90.5
    assert speed.on_missing == "refuse"
    assert (load.name, load.on_missing) == ("load", "flag")
    text = (tmp_path / FILE_NAME).read_text()
    assert '# Left out: "id": an index' in text
    assert '# Left out: "fixed": every row has the same value.' in text
    assert "left out 'id'" in result.output


def test_rows_in_no_order_of_time_all_train(tmp_path: Path) -> None:
    rows = "".join(f"2026-01-{row % 28 + 1:02d},{row % 91}.5,{row % 2}\n" for row in range(500))
    result = init(write_csv(tmp_path / "rows.csv", "when,x,y\n" + rows), "--target", "y", "--project", tmp_path)
    assert result.exit_code == 0, result.output
    assert load_project(tmp_path).project.data.rows is None
    assert "not in the order of 'when'" in result.output


def test_every_key_of_every_section_is_shown_with_its_default(tmp_path: Path) -> None:
    init(machines(tmp_path), "--target", "state", "--project", tmp_path)
    before = load_project(tmp_path)
    lines = (tmp_path / FILE_NAME).read_text().splitlines()
    uncommented = [
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in lines
        if not line.endswith(NOT_SET)
    ]
    (tmp_path / FILE_NAME).write_text("\n".join(uncommented))
    # The defaults in the file are those of the types: taking away the # changes nothing.
    assert load_project(tmp_path) == before
    written = tomllib.loads("\n".join(uncommented))
    unset = {line[1:].split(" = ")[0] for line in lines if line.endswith(NOT_SET)}
    for field in msgspec.structs.fields(Project):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            keys = {key.name for key in msgspec.structs.fields(field.type)}
            assert keys <= set(written[field.name]) | unset, field.name
    assert set(TrialRules.__struct_fields__) <= set(written["rollout"]["trial"]) | unset


def test_keys_are_explained_by_their_types(tmp_path: Path) -> None:
    init(machines(tmp_path), "--target", "state", "--project", tmp_path)
    text = (tmp_path / FILE_NAME).read_text()
    assert "# Trials of the search over all families together.\n#trials = 12\n" in text


def test_a_project_file_is_overwritten_only_when_forced(tmp_path: Path) -> None:
    data = machines(tmp_path)
    (tmp_path / FILE_NAME).write_text("mine")
    refused = init(data, "--target", "state", "--project", tmp_path)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert (tmp_path / FILE_NAME).read_text() == "mine"
    assert init(data, "--target", "state", "--project", tmp_path, "--force").exit_code == 0
    load_project(tmp_path)


@pytest.mark.parametrize(
    ("text", "target", "named"),
    [
        ("", "y", "the file is empty"),
        ("x,y\n", "y", "no row of data"),
        ("x,quality\n1,2\n3,4\n", "qualty", "did you mean 'quality'?"),
        ("x,y\n,1\n,2\n", "y", "column 'x': all 2 values are empty"),
        ("x,y\n1,\n2,\n", "y", "column 'y': all 2 values are empty"),
        ("x,y\n1,5\n2,5\n", "y", "all rows have the same value"),
        ("x,y\n1,0\n2,\n3,1\n", "y", "1 of 3 rows have no value"),
        ("x,y\n5,1\n5,2\n", "y", "no column is left to learn from ('x': every row has the same value)"),
        ("x,y\n1,2026-01-01\n5,2026-01-02\n", "y", "neither classes nor numbers"),
        ("x\n1\n2\n", "x", "no column is left to learn from"),
        ("a,y\n1,2,3\n1,2,4\n", "y", "header one name short"),
        ("x,y\n1e39,1\n2,2\n", "y", "too large for float32"),
    ],
)
def test_data_that_make_no_project_are_refused_with_file_and_column(
    text: str, target: str, named: str, tmp_path: Path
) -> None:
    result = init(write_csv(tmp_path / "rows.csv", text), "--target", target, "--project", tmp_path)
    assert result.exit_code == 3, result.output
    assert named in result.stderr
    assert "rows.csv" in result.stderr
    assert not (tmp_path / FILE_NAME).exists()


def test_a_text_among_many_numbers_is_told_with_its_row_and_the_way_out(tmp_path: Path) -> None:
    rows = [f"{value}.5,{value % 2}" for value in range(200)]
    rows[120] = "broken,0"
    data = write_csv(tmp_path / "rows.csv", "x,y\n" + "\n".join(rows) + "\n")
    refused = init(data, "--target", "y", "--project", tmp_path)
    assert refused.exit_code == 3
    assert "row 120, column 'x': 'broken'" in refused.stderr
    assert "--leave-out 'x'" in refused.stderr


def test_a_column_left_out_may_hold_anything(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "rows.csv", "x,empty,y\n1,,0\n5,,1\n4,,0\n")
    result = init(data, "--target", "y", "--leave-out", "empty", "--project", tmp_path)
    assert result.exit_code == 0, result.output
    assert [feature.name for feature in load_project(tmp_path).project.features] == ["x"]


def test_a_column_to_leave_out_that_is_not_there_is_named(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "rows.csv", "x,y\n1,0\n5,1\n")
    result = init(data, "--target", "y", "--leave-out", "z", "--project", tmp_path)
    assert result.exit_code == 3
    assert "'z'" in result.stderr


def test_the_task_can_be_given(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "rows.csv", "x,y\n1,3\n5,4\n7,3\n")
    assert init(data, "--target", "y", "--project", tmp_path, "--task", "regression").exit_code == 0
    assert load_project(tmp_path).project.target.task == "regression"


def test_a_name_that_no_model_may_have_is_refused(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "rows.csv", "x,y\n1,0\n5,1\n")
    result = init(data, "--target", "y", "--name", "My Model", "--project", tmp_path)
    assert result.exit_code == 2
    assert "'My Model'" in result.stderr


def test_names_from_hostile_headers_stay_values_in_the_file(tmp_path: Path) -> None:
    names = ('a "quoted"\\name', "line\nbreak", "naïve\x7f", "]\n[gate]\nx = 1", "plain")
    columns = {name: [1.0, 2.5, 4.0, 4.0] for name in names[:4]} | {"plain": [1, 1, 1, 1], "y": ["u", "v", "u", "v"]}
    data = tmp_path / "rows.parquet"
    pa.parquet.write_table(pa.table(columns), data)
    result = init(data, "--target", "y", "--project", tmp_path)
    assert result.exit_code == 0, result.output
    project = load_project(tmp_path).project
    assert tuple(feature.name for feature in project.features) == names[:4]


def test_several_files_are_one_table(tmp_path: Path) -> None:
    first = write_csv(tmp_path / "2011.csv", "x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(300)))
    second = write_csv(tmp_path / "2012.csv", "y,x\n" + "".join(f"{i % 2},{i}.5\n" for i in range(300)))
    result = init(first, second, "--target", "y", "--project", tmp_path)
    assert result.exit_code == 0, result.output
    loaded = load_project(tmp_path)
    assert loaded.project.data.path == ("2011.csv", "2012.csv")
    assert loaded.project.data.rows == (0, 300)
    assert loaded.project.features[0].valid_max is not None
    assert loaded.project.features[0].valid_max > 299.5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("x,y\n1,0\nbroken,1\n", "2012.csv: row 1, column 'x': 'broken'"),
        ("x\n1\n", "2012.csv: there is no column 'y'"),
        ("x,y,z\n1,0,2\n", "2012.csv: the column 'z' is not in"),
    ],
)
def test_what_is_wrong_in_a_later_file_is_told_with_that_file_and_its_row(
    text: str, named: str, tmp_path: Path
) -> None:
    first = write_csv(tmp_path / "2011.csv", "x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(300)))
    second = write_csv(tmp_path / "2012.csv", text)
    result = init(first, second, "--target", "y", "--project", tmp_path)
    assert result.exit_code == 3, result.output
    assert named in result.stderr


def test_files_with_columns_of_other_types_are_refused(tmp_path: Path) -> None:
    for name, values in (("a", [1.0, 2.0]), ("b", ["1", "2"])):
        pa.parquet.write_table(pa.table({"x": values, "y": ["u", "v"]}), tmp_path / f"{name}.parquet")
    result = init(tmp_path / "a.parquet", tmp_path / "b.parquet", "--target", "y", "--project", tmp_path)
    assert result.exit_code == 3
    assert "b.parquet: column 'x' holds string" in result.stderr


def test_a_model_is_named_after_the_file() -> None:
    assert name_after(Path("Gas Turbine (2011).csv")) == "gas-turbine-2011"
    assert name_after(Path("数据.csv")) == "model"


def test_data_outside_of_the_project_are_named_by_their_whole_path(tmp_path: Path) -> None:
    assert path_from(tmp_path, tmp_path / "data" / "rows.csv") == "data/rows.csv"
    assert path_from(tmp_path / "project", tmp_path / "rows.csv") == str(tmp_path / "rows.csv")
