"""What a run froze of its rows says how they were made of readings."""

from pathlib import Path

import numpy as np
from msgspec import UNSET

from tests.unit.trainer.cli.projects import write_small_project
from tests.unit.trainer.signal_project import write_signal_project
from trainer.pipeline.extracting import extract_rows, load_names, load_rows, load_signal
from trainer.project.loading import load_project


def test_the_windows_of_a_run_are_kept_with_its_rows(tmp_path: Path) -> None:
    loaded = load_project(write_signal_project(tmp_path))
    folder = tmp_path / "extract"
    folder.mkdir()
    outcome = extract_rows(loaded, 0.0, folder)
    assert ("signal", "a row is a window of 64 readings at 100 Hz, one every 32") in outcome.facts
    assert loaded.project.signal is not None
    assert load_signal(folder) == loaded.project.signal.declared
    assert load_names(folder)[0] == tuple(feature.name for feature in loaded.project.features)
    np.testing.assert_array_equal(load_rows(folder).rows, outcome.value.rows)


def test_the_times_of_rows_are_kept_with_them(tmp_path: Path) -> None:
    loaded = load_project(write_small_project(tmp_path))
    file, rows = tmp_path / "fieldloop.toml", tmp_path / "rows.csv"
    header, *lines = rows.read_text().splitlines()
    rows.write_text("\n".join([f"{header},at", *(f"{line},{place}" for place, line in enumerate(lines))]) + "\n")
    folder = tmp_path / "extract"
    folder.mkdir()
    assert extract_rows(loaded, 0.0, folder).value.times is None
    assert load_rows(folder).times is None
    file.write_text(file.read_text().replace("[target]", 'timestamp = "at"\n\n[target]\nlabel_delay_s = 2.0'))
    made = extract_rows(load_project(tmp_path), 0.0, folder).value
    kept = load_rows(folder)
    assert made.times is not None
    assert kept.times is not None
    np.testing.assert_array_equal(kept.times.at, np.arange(len(lines)))
    np.testing.assert_array_equal(kept.times.known, made.times.at + 2.0)
    assert kept.fingerprint == made.fingerprint


def test_rows_that_are_no_windows_have_no_signal(tmp_path: Path) -> None:
    folder = tmp_path / "extract"
    folder.mkdir()
    outcome = extract_rows(load_project(write_small_project(tmp_path)), 0.0, folder)
    assert load_signal(folder) is UNSET
    assert "signal" not in dict(outcome.facts)
