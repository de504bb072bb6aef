"""Views in a file of Python: what is at its top, checked as in TOML, and with its line where it fails."""

import sys
from pathlib import Path

import pytest

from trainer.errors import ProjectError
from trainer.features.views.view_file import find_view_files, load_views

IMPORTS = "from trainer.features.views.view import Entity, FeatureView, Source, ViewFeature\n"
MACHINE = IMPORTS + 'MACHINE = Entity(name="machine", key="machine_id")\n'
HOURLY = 'FeatureView(name="{name}", entities=(MACHINE,), features=(ViewFeature(name="load"),), {more})\n'


def declared(folder: Path, text: str) -> Path:
    file = folder / "views.py"
    file.write_text(text)
    return file


def hourly(name: str = "hourly", more: str = "") -> str:
    return HOURLY.format(name=name, more=more)


def test_what_is_at_the_top_alone_or_in_a_list_is_declared(tmp_path: Path) -> None:
    (tmp_path / "shared_names.py").write_text('KEY = "machine_id"\n')
    text = IMPORTS + "from shared_names import KEY\nMACHINE = Entity(name='machine', key=KEY)\n"
    text += f"one = {hourly()}again = one\nmany = [{hourly('daily')}, 5, {hourly('weekly')}]\n"
    text += f"def unused():\n    return {hourly('never')}"
    path = list(sys.path)
    views = load_views(declared(tmp_path, text))
    assert [view.name for view in views] == ["hourly", "daily", "weekly"]
    assert views[0].keys == ("machine_id",)
    assert sys.path == path


def test_files_beside_it_are_named_whole_and_a_password_is_refused(tmp_path: Path) -> None:
    source = 'source=Source(path=("rows.csv", "s3://bucket/rows.parquet"))'
    (view,) = load_views(declared(tmp_path, MACHINE + "one = " + hourly(more=source)))
    assert view.source.path == (str(tmp_path / "rows.csv"), "s3://bucket/rows.parquet")
    source = 'source=Source(query="SELECT 1", database="postgresql://me:tulip7@host/name")'
    with pytest.raises(ProjectError, match="holds a password") as refusal:
        load_views(declared(tmp_path, MACHINE + "one = " + hourly(more=source)))
    assert "tulip7" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MACHINE + "\none = 1 / 0\n", r"views\.py, line 4: ZeroDivisionError"),
        (MACHINE + "def f():\n    raise ValueError('too late')\n\nf()\n", r"views\.py, line 4: ValueError: too late"),
        (MACHINE + "one = (\n", r"views\.py, line 3: SyntaxError"),
        (MACHINE + "raise SystemExit(3)\n", r"views\.py, line 3: SystemExit: 3"),
        (MACHINE, "declares no FeatureView at its top"),
        (MACHINE + f"one = {hourly()}two = {hourly(more='ttl_s=5.0')}", "two views have the same name 'hourly'"),
        (MACHINE + f"one = {hourly(more='ttl_s=[]')}", r"view 'hourly': Expected `float \| null`, got `array`"),
        (MACHINE + f"one = {hourly(name='Hourly')}", "a name is small letters"),
    ],
)
def test_what_cannot_be_declared_is_told(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=told):
        load_views(declared(tmp_path, text))


def test_files_that_declare_views_are_found_without_running_them(tmp_path: Path) -> None:
    declared(tmp_path, MACHINE + f"one = {hourly()}raise SystemExit\n")
    (tmp_path / "steps.py").write_text(
        IMPORTS + "one = dict()\n\n\ndef make(): return FeatureView()\n\n\nraise SystemExit\n"
    )
    (tmp_path / "broken.py").write_text("one = FeatureView(\n")
    (tmp_path / "more.toml").write_text("[[views]]\n")
    (tmp_path / "fieldloop.toml").write_text("[model]\n")
    assert [file.name for file in find_view_files(tmp_path)] == ["more.toml", "views.py"]
