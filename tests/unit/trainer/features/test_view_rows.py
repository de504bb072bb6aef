"""Labelled rows get from the views of a store what was known at their own time, and nothing else."""

from pathlib import Path

import pytest

from tests.unit.trainer.features.view_project import (
    FROM_FILE,
    FROM_VIEW,
    SITE,
    START,
    hour,
    push_hours,
    store_of,
    table,
    write_labels,
    write_view_project,
)
from trainer.errors import DataError, ProjectError
from trainer.features.source import read_source
from trainer.features.store import extract, extract_counted
from trainer.features.view_rows import view_fingerprints, views_used
from trainer.features.views.use import ViewUse
from trainer.project.project import LoadedProject

ALWAYS = 4e9


def as_of(hours: float) -> float:
    return START.timestamp() + hours * 3600


def push(loaded: LoadedProject, *rows: tuple[str, float, float, float]) -> None:
    """Push rows of the hourly view: pump, hour, the hour at which it was known, pressure."""
    pumps, hours, known, pressures = zip(*rows, strict=True)
    columns = {"pump_id": list(pumps), "at": list(map(hour, hours)), "known": list(map(hour, known))}
    store_of(loaded).push("hourly", table(**columns, pressure=list(pressures), vibration=[0.5] * len(rows)))


def push_truths(loaded: LoadedProject, *rows: tuple[str, float, float, str | None]) -> None:
    """Push labels: pump, hour, the hour at which it was known, label."""
    pumps, hours, known, labels = zip(*rows, strict=True)
    columns = {"pump_id": list(pumps), "at": list(map(hour, hours)), "known": list(map(hour, known))}
    store_of(loaded).push("truths", table(**columns, quality=list(labels)))


def pressures(loaded: LoadedProject, as_of_utc_s: float = ALWAYS) -> list[float]:
    found: list[float] = read_source(loaded, as_of_utc_s).column("x.pressure").to_pylist()
    return found


def test_each_row_gets_what_was_known_at_its_own_time(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path)
    push(loaded, ("p1", 0, 0, 1.0), ("p1", 1, 3, 2.0), ("p2", 0, 0, 9.0))
    write_labels(loaded, ("p1", 0, "good"), ("p1", 2, "good"), ("p1", 3, "scrap"), ("p2", 5, "good"))
    # At hour 2 the row of hour 1 has happened, and nobody knows it yet.
    assert pressures(loaded) == [1.0, 1.0, 2.0, 9.0]
    assert read_source(loaded).column("at").to_pylist() == [as_of(0), as_of(2), as_of(3), as_of(5)]


def test_a_column_of_the_labels_file_is_no_feature_whatever_its_name(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path)
    push(loaded, ("p1", 0, 0, 1.0))
    write_labels(loaded, ("p1", 0, "good"), ("p1", 1, "scrap"), pressure=[77.0, 78.0])
    assert pressures(loaded) == [1.0, 1.0]


def test_features_of_several_views_stand_together(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path, FROM_FILE.replace('["hourly"]', '["hourly", "places:site"]'), SITE)
    push(loaded, ("p1", 0, 0, 1.0), ("p2", 0, 0, 2.0))
    store_of(loaded).push("places", table(pump_id=["p1", "p2"], at=[hour(0)] * 2, site=["south", "north"]))
    write_labels(loaded, ("p2", 1, "good"), ("p1", 1, "scrap"))
    assert read_source(loaded).column("x.site").to_pylist() == ["north", "south"]
    assert views_used(loaded) == (
        ViewUse("hourly", 1, (("pressure", "pressure"), ("vibration", "vibration"))),
        ViewUse("places", 1, (("site", "site"),)),
    )


def test_labels_of_a_view_are_those_that_were_known(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path, FROM_VIEW)
    push(loaded, ("p1", 0, 0, 1.0), ("p2", 0, 0, 2.0))
    push_truths(loaded, ("p1", 1, 4, "good"), ("p2", 2, 5, "scrap"), ("p1", 1, 6, "scrap"), ("p2", 3, 3, None))
    first = extract(loaded, as_of(5))
    assert (first.labels, first.truth.tolist()) == (("good", "scrap"), [0.0, 1.0])
    assert first.entity.tolist() == [0, 1]
    # Corrected an hour later.
    assert read_source(loaded, as_of(6)).column("truth").to_pylist() == ["scrap", "scrap"]
    assert read_source(loaded, as_of(6)).column("known").to_pylist() == [as_of(6), as_of(5)]
    assert pressures(loaded, as_of(4)) == [1.0]
    with pytest.raises(DataError, match="view truths has no label that is known yet"):
        extract(loaded, as_of(3))


def test_rows_that_no_device_could_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path)
    push(loaded, ("p1", 2, 2, 1.0))
    write_labels(loaded, ("p1", 1, "good"), ("p1", 2, "good"), ("p3", 3, "good"), ("p1", 4, "scrap"))
    found = extract_counted(loaded, ALWAYS)
    assert (len(found.table.rows), found.unanswerable) == (2, 2)
    write_labels(loaded, ("p1", 1, "good"), ("p3", 3, "good"))
    with pytest.raises(DataError, match=r"of none of 2 rows all of pressure, vibration were known at its time.*ttl_s"):
        extract(loaded, ALWAYS)


def test_a_feature_that_may_be_missing_is(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path, features='on_missing = "flag"\n')
    columns = {"pump_id": ["p1"], "at": [hour(0)], "known": [hour(0)]}
    store_of(loaded).push("hourly", table(**columns, pressure=[1.0], vibration=[None]))
    push(loaded, ("p1", 1, 1, 2.0))
    write_labels(loaded, ("p1", 0, "good"), ("p1", 1, "scrap"))
    vibrations = read_source(loaded).column("x.vibration").to_pylist()
    assert vibrations[0] != vibrations[0]
    assert vibrations[1] == 0.5


def test_rows_are_counted_as_they_stand_in_the_file(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path, f"{FROM_FILE}\nrows = [1, 3]\njudge = [3, 4]")
    push(loaded, *(("p1", number, number, float(number)) for number in range(4)))
    write_labels(loaded, *(("p1", number, "good" if number % 2 else "scrap") for number in range(4)))
    found = extract(loaded, ALWAYS)
    assert found.rows[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert found.n_judge == 1


def test_a_local_time_needs_its_zone(tmp_path: Path) -> None:
    def labels(loaded: LoadedProject) -> None:
        text = "pump_id,when,quality\np1,2026-03-01 01:30,good\np1,2026-03-01 00:30,scrap\n"
        (loaded.folder / "labels.csv").write_text(text)

    loaded = write_view_project(tmp_path / "without")
    push(loaded, ("p1", -5, -5, 1.0), ("p1", 0, 0, 2.0))
    labels(loaded)
    with pytest.raises(DataError, match=r"labels\.csv: column 'when'.*zone"):
        extract(loaded, ALWAYS)
    loaded = write_view_project(tmp_path / "with", f'{FROM_FILE}\nzone = "Europe/Zurich"')
    push(loaded, ("p1", -5, -5, 1.0), ("p1", 0, 0, 2.0))
    labels(loaded)
    # Half past one there is half past midnight in UTC; and the earlier row comes first.
    assert pressures(loaded) == [1.0, 2.0]


def test_what_the_project_says_of_a_feature_is_what_its_view_says(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path / "unit")
    file = loaded.folder / "fieldloop.toml"
    file.write_text(file.read_text().replace('unit = "bar"', 'unit = "Pa"'))
    push_hours(loaded, range(2))
    write_labels(loaded, ("p1", 1, "good"))
    from trainer.project.loading import load_project

    with pytest.raises(ProjectError, match="'pressure' is in 'Pa', but view 'hourly' holds 'bar'"):
        extract(load_project(loaded.folder), ALWAYS)
    text = '\n[[features]]\nname = "site"\n'
    loaded = write_view_project(tmp_path / "kind", FROM_FILE.replace('["hourly"]', '["hourly", "places"]'), text)
    write_labels(loaded, ("p1", 1, "good"))
    with pytest.raises(ProjectError, match="'site' is float32, but view 'places' holds text"):
        extract(loaded, ALWAYS)


def test_what_the_store_does_not_have_is_named(tmp_path: Path) -> None:
    for name, data, told in (
        ("view", FROM_FILE.replace("hourly", "hourli"), "no view 'hourli'; did you mean 'hourly'"),
        ("feature", FROM_FILE.replace('"hourly"', '"hourly:presure"'), "no feature 'presure'"),
        ("input", FROM_FILE.replace('"hourly"', '"hourly:pressure"'), "column 'vibration': there is no such column"),
        ("target", FROM_VIEW.replace("truths", "places"), "view 'places' has no feature 'quality'"),
    ):
        loaded = write_view_project(tmp_path / name, data)
        push_hours(loaded, range(2))
        write_labels(loaded, ("p1", 1, "good"))
        with pytest.raises(DataError, match=told):
            extract(loaded, ALWAYS)
    loaded = write_view_project(tmp_path / "key")
    (loaded.folder / "labels.csv").write_text(f"pump,when,quality\np1,{hour(1)},good\n")
    with pytest.raises(DataError, match=r"labels\.csv: column 'pump_id': there is no such column; did you mean 'pump'"):
        extract(loaded, ALWAYS)


def test_a_fingerprint_is_of_what_is_read(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path, FROM_VIEW)
    before = view_fingerprints(loaded)
    assert set(before) == {"view hourly", "view truths"}
    store_of(loaded).push("places", table(pump_id=["p1"], at=[hour(0)], site=["south"]))
    assert view_fingerprints(loaded) == before
    push(loaded, ("p1", 0, 0, 1.0))
    after = view_fingerprints(loaded)
    assert after["view hourly"] != before["view hourly"]
    assert after["view truths"] == before["view truths"]
