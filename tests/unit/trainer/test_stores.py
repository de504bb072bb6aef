"""The section ``[stores]``: the environment before the file, and no password where anybody reads it."""

from pathlib import Path

import msgspec
import pytest

from tests.unit.trainer.cli.projects import write_small_project
from trainer.errors import ProjectError
from trainer.project.loading import load_project
from trainer.project.stores import StoresSection, hidden, resolve_stores

_SECRET = "tulip@7"


def with_stores(folder: Path, text: str) -> Path:
    """Write a small project with a section of stores."""
    write_small_project(folder)
    file = folder / "fieldloop.toml"
    file.write_text(file.read_text() + f"\n[stores]\n{text}\n")
    return folder


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = with_stores(tmp_path, 'metadata = "http://one:5000"\nonline = "sqlite:///online.db"')
    monkeypatch.setenv("FIELDLOOP_STORES_METADATA", "http://two:5000")
    stores = load_project(project).stores
    assert (stores.metadata, stores.online, stores.search) == ("http://two:5000", "sqlite:///online.db", None)


def test_an_address_without_a_driver_gets_the_one_that_is_installed() -> None:
    found = resolve_stores(StoresSection(metadata="postgresql://me@db/models"), Path("/"), {})
    assert found.metadata == "postgresql+psycopg://me@db/models"


def test_a_folder_starts_from_the_projects_and_an_object_stores_address_stays(tmp_path: Path) -> None:
    found = resolve_stores(StoresSection(features="features", artefacts="s3://bucket/place"), tmp_path, {})
    assert (found.features, found.artefacts) == (str(tmp_path / "features"), "s3://bucket/place")


def test_a_password_in_the_file_is_refused_without_repeating_it(tmp_path: Path) -> None:
    project = with_stores(tmp_path, f'telemetry = "postgresql://me:{_SECRET}@db/fleet"')
    with pytest.raises(ProjectError) as refusal:
        load_project(project)
    assert "FIELDLOOP_STORES_TELEMETRY" in str(refusal.value)
    assert "postgresql://me:***@db/fleet" in str(refusal.value)
    assert _SECRET not in str(refusal.value)


def test_no_address_stands_in_what_a_run_records_and_no_password_in_a_representation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDLOOP_STORES_METADATA", f"postgresql://me:{_SECRET}@db/models")
    loaded = load_project(write_small_project(tmp_path))
    assert loaded.stores.metadata == f"postgresql+psycopg://me:{_SECRET}@db/models"
    assert b"db/models" not in msgspec.json.encode(loaded.project)
    assert _SECRET not in repr(loaded)
    assert _SECRET not in str(loaded.stores)


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("METADATA", f"mysql://me:{_SECRET}@db/x", "begins with sqlite:// or postgresql://"),
        ("SEARCH", f"http://me:{_SECRET}@db", "FIELDLOOP_STORES_SEARCH"),
        ("META", "sqlite:///x", "there is no such store"),
    ],
)
def test_another_address_or_name_is_refused(variable: str, value: str, named: str) -> None:
    with pytest.raises(ProjectError, match=named) as refusal:
        resolve_stores(StoresSection(), Path("/"), {f"FIELDLOOP_STORES_{variable}": value})
    assert _SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"cannot reach postgresql://a:{_SECRET}@h:5/d, twice", "cannot reach postgresql://a:***@h:5/d, twice"),
        ("http://h/x?user=a&password=b&x=1", "http://h/x?user=a&password=***&x=1"),
        ("postgresql+psycopg://a@h/d", "postgresql+psycopg://a@h/d"),
        ("http://h:5000/a@b", "http://h:5000/a@b"),
        ("sqlite:////a/b:c@d.db", "sqlite:////a/b:c@d.db"),
    ],
)
def test_passwords_are_hidden_in_any_text_and_nothing_else_is(text: str, shown: str) -> None:
    assert hidden(text) == shown
