import json
import re

import pytest
from typer.testing import CliRunner

from tests.unit.trainer.cli.test_experiment import write_rows
from trainer.cli.application import app
from trainer.errors import DataError, ProjectError
from trainer.features.store import extract
from trainer.pipeline.validating import validate_rows
from trainer.project.loading import load_project


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    data = write_rows(tmp_path, 120)
    assert call("init", data, "--target", "state", "--project", tmp_path).exit_code == 0
    return tmp_path


def use_schema(folder, more=""):
    """Infer a schema and let the project use it."""
    assert call("schema", "infer", "--project", folder).exit_code == 0
    file = folder / "fieldloop.toml"
    file.write_text(re.sub(r"^#schema = .*$", f'schema = "schema.toml"\n{more}', file.read_text(), flags=re.MULTILINE))


def edit(folder, old, new):
    file = folder / "schema.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def validated(folder, at):
    loaded = load_project(folder)
    return validate_rows(loaded.project, extract(loaded, 0.0), at)


def shown(folder):
    return json.loads(call("schema", "show", "--project", folder, "--json").stdout)


def test_an_inferred_schema_admits_the_rows_it_was_inferred_from_and_the_run_records_its_version(folder, tmp_path):
    use_schema(folder)
    outcome = validated(folder, tmp_path)
    assert outcome.params["schema_version"] == 1
    assert outcome.params["schema_sha256"] == shown(folder)["sha256"]
    assert outcome.params["schema_reviewed_by"] == ""
    schema = load_project(folder).project.schema
    assert schema is not None
    assert ("schema", schema.standing) in outcome.facts


def test_a_review_is_of_one_content_and_who_changes_it_reviews_it_again(folder, tmp_path):
    use_schema(folder)
    assert call("schema", "review", "--by", "Ada", "--project", folder).exit_code == 0
    assert validated(folder, tmp_path).params["schema_reviewed_by"] == "Ada"
    edit(folder, 'name = "heat"', 'name = "heat"\nmaximum = 99.0\n#')
    text = (folder / "schema.toml").read_text()
    (folder / "schema.toml").write_text(re.sub(r"#\nminimum = .*\nmaximum = .*", "", text, count=1))
    assert not shown(folder)["is_reviewed"]
    assert "changed since Ada reviewed it" in call("schema", "show", "--project", folder).stdout
    assert validated(folder, tmp_path).params["schema_reviewed_by"] == ""
    assert call("schema", "review", "--by", "Grace", "--project", folder).exit_code == 0
    schema = shown(folder)
    assert schema["is_reviewed"]
    assert schema["schema"]["version"] == 2
    assert schema["schema"]["review"]["by"] == "Grace"


def test_inferring_again_keeps_a_schema_that_says_the_same_with_its_review(folder):
    use_schema(folder)
    call("schema", "review", "--by", "Ada", "--project", folder)
    before = (folder / "schema.toml").read_text()
    call("schema", "infer", "--project", folder)
    assert (folder / "schema.toml").read_text() == before
    edit(folder, "max_missing = 0.0", "max_missing = 0.5")
    call("schema", "infer", "--project", folder)
    assert shown(folder)["schema"]["version"] == 2


def test_rows_wait_for_a_review_where_the_project_demands_one(folder, tmp_path):
    use_schema(folder, "must_be_reviewed = true")
    text = (folder / "fieldloop.toml").read_text()
    (folder / "fieldloop.toml").write_text(re.sub(r"^#must_be_reviewed.*\n", "", text, flags=re.MULTILINE))
    with pytest.raises(DataError, match=r"not reviewed.*fieldloop schema review"):
        validated(folder, tmp_path)
    call("schema", "review", "--by", "Ada", "--project", folder)
    validated(folder, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "leak"', 'name = "other"', "'leak': the schema knows no such column"),
        ('labels = ["bad", "good"]', 'labels = ["bad"]', "the schema knows no label 'good'"),
        ('target = "state"', 'target = "stat"', "the schema's target is 'stat'"),
        ('categories = ["<b>", "cold"]', 'categories = ["cold"]', "'<kind>': 60 rows|'<kind>': [0-9]+ rows"),
        ('dtype = "category"\ncategories = ["<b>", "cold"]', "minimum = 0.0", "the schema says float32"),
        ("max_missing = 0.2433", "max_missing = 0.05", "lack a value, the schema allows 5.0%"),
        ("max_missing = 0.2433", "max_missing = 0.0", "'load': .* break not_nullable"),
    ],
)
def test_rows_that_leave_the_schema_are_refused_by_column_and_reason(old, new, words, folder, tmp_path):
    use_schema(folder)
    edit(folder, old, new)
    with pytest.raises(DataError, match=words):
        validated(folder, tmp_path)


def test_a_schema_that_is_wrong_itself_is_refused_with_the_key(folder):
    use_schema(folder)
    edit(folder, "max_missing", "max_mising")
    with pytest.raises(ProjectError, match=r"max_mising.*fieldloop schema infer"):
        load_project(folder)


def test_a_schema_stands_in_its_own_file_and_not_in_the_project(folder):
    file = folder / "fieldloop.toml"
    file.write_text(file.read_text() + '\n[schema]\ntarget = "state"\n[[schema.columns]]\nname = "heat"\n')
    with pytest.raises(ProjectError, match=r"data\.schema"):
        load_project(folder)
