import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.unit.trainer.features.small_project import FEATURES, ROWS, write_project
from trainer.errors import DataError
from trainer.features.store import LabelledRow, extract, extract_counted, push_labelled
from trainer.features.table import NO_ENTITY
from trainer.project.project import LoadedProject

NOW = 1000.0
REGRESSION = 'task = "regression"'
VALUES = "pressure,vibration,quality\n1,10,0.5\n2,20,0.25\n"
COLOUR = '[[features]]\nname = "colour"\ndtype = "category"\ncategories = [{}]\non_missing = "flag"\n'
MAY_MISS = FEATURES + 'on_missing = "flag"\n'
RED_BLUE, BLUE_GREY_RED = COLOUR.format('"red", "blue"'), COLOUR.format('"blue", "grey", "red"')
COLOURED = "colour,quality\nblue,good\nred,scrap\n"


def row(name: str, *values: float | None, **changes: Any) -> LabelledRow:
    """A labelled row of the small project; other features go by their names in ``features``."""
    content: dict[str, Any] = {
        "prediction_id": name,
        "device": "one",
        "bundle": "quality/1",
        "features": dict(zip(("pressure", "vibration"), values or (4.0, 40.0), strict=True)),
        "label": "good",
        "scored_utc_s": 1.0,
        "known_utc_s": 2.0,
        "reason": "asked",
    }
    return LabelledRow(**(content | changes))


def fleet_rows(loaded: LoadedProject, as_of_utc_s: float = NOW) -> list[list[float]]:
    table = extract(loaded, as_of_utc_s)
    return [[float(value) for value in values] for values in table.rows[table.is_fleet]]


def left_out(loaded: LoadedProject) -> int:
    return extract_counted(loaded, NOW).left_out


def coloured(name: str, colour: str | None, **changes: Any) -> LabelledRow:
    return row(name, features={"colour": colour}, **changes)


def labelled_files(loaded: LoadedProject) -> list[Path]:
    return sorted((loaded.state / "features" / "labelled").glob("*.parquet"))


def source_files(loaded: LoadedProject) -> list[Path]:
    return sorted((loaded.state / "features" / "source").glob("*.parquet"))


def refusal(loaded: LoadedProject) -> str:
    with pytest.raises(DataError) as caught:
        extract(loaded, NOW)
    return str(caught.value).replace(f"{loaded.folder}/", "")


# --- the project's own rows -------------------------------------------------------------------------------------------


def test_rows_are_float32_and_truths_are_the_places_of_the_sorted_labels(tmp_path: Path) -> None:
    table = extract(write_project(tmp_path), NOW)
    assert table.names == ("pressure", "vibration")
    assert table.labels == ("good", "scrap")
    assert table.rows.dtype == np.float32
    assert table.rows.tolist() == [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]
    assert table.truth.tolist() == [0.0, 1.0, 0.0]
    assert not table.is_fleet.any()
    assert not table.is_chosen.any()
    assert (table.entity == NO_ENTITY).all()


def test_rows_have_the_times_at_which_they_were_and_their_labels_known(tmp_path: Path) -> None:
    text = "at,unit,pressure,vibration,quality\n30,z,1,1,good\n10,a,2,2,scrap\n20,z,3,3,good\n"
    data, target = 'entity = "unit"\ntimestamp = "at"', 'task = "classification"\nlabel_delay_s = 5'
    loaded = write_project(tmp_path, text, data=data, target=target)
    push_labelled(loaded, [row("b", device="p2"), row("a", device="p1"), row("c", device="p2")])
    table = extract(loaded, NOW)
    assert table.times is not None
    assert table.times.at[:3].tolist() == [10.0, 20.0, 30.0]
    assert table.times.known[:3].tolist() == [15.0, 25.0, 35.0]
    assert table.times.series[:3].tolist() == [0, 1, 1]
    assert (table.times.known[3:] >= table.times.at[3:] + 5).all()
    p1, *p2 = table.times.series[3:].tolist()
    assert {p1, *p2}.isdisjoint({0, 1})
    assert p2 == [p2[0]] * 2 != [p1] * 2
    later = extract(write_project(tmp_path, text, data=data, target=target.replace("5", "6")), NOW)
    assert later.fingerprint != table.fingerprint


def test_rows_without_a_column_of_times_have_none_but_those_of_the_fleet(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    assert extract(loaded, NOW).times is None
    push_labelled(loaded, [row("a")])
    times = extract(loaded, NOW).times
    assert times is not None
    assert np.isnan(times.at).tolist() == [True, True, True, False]


def test_declared_labels_keep_their_order(tmp_path: Path) -> None:
    target = 'task = "classification"\nlabels = ["scrap", "good", "unknown"]'
    table = extract(write_project(tmp_path, target=target), NOW)
    assert table.labels == ("scrap", "good", "unknown")
    assert table.truth.tolist() == [1.0, 0.0, 1.0]


def test_a_regression_has_no_labels(tmp_path: Path) -> None:
    table = extract(write_project(tmp_path, VALUES, target=REGRESSION), NOW)
    assert table.labels == ()
    assert table.truth.tolist() == [0.5, 0.25]


def test_a_category_is_its_index_and_what_is_missing_is_nan(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, COLOURED + ",good\n", features=RED_BLUE)
    assert extract(loaded, NOW).rows[:, 0].tolist() == pytest.approx([1.0, 0.0, math.nan], nan_ok=True)


def test_entities_are_numbered_in_the_order_of_their_first_rows_and_the_fleet_has_none(tmp_path: Path) -> None:
    text = "unit,pressure,vibration,quality\nz,1,1,good\na,2,2,scrap\nz,3,3,good\n"
    loaded = write_project(tmp_path, text, data='entity = "unit"')
    push_labelled(loaded, [row("a")])
    assert extract(loaded, NOW).entity.tolist() == [0, 1, 0, NO_ENTITY]


@pytest.mark.parametrize("folder", ["line *", "line ?", "truth=5", "known_utc_s=5000"])
def test_a_folder_is_no_pattern_whatever_its_name(tmp_path: Path, folder: str) -> None:
    for name in ("line 1", folder):
        loaded = write_project(tmp_path / name)
        push_labelled(loaded, [row(name)])
        extract(loaded, NOW)
    loaded = write_project(tmp_path / folder)
    assert extract(loaded, NOW).rows[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert extract(loaded, NOW).truth.tolist() == [0.0, 1.0, 0.0, 0.0]


def test_names_of_features_may_differ_in_their_case_alone(tmp_path: Path) -> None:
    features = '[[features]]\nname = "v"\n[[features]]\nname = "V"\n'
    loaded = write_project(tmp_path, "v,V,quality\n1,2,good\n", features=features)
    push_labelled(loaded, [row("a", features={"v": 3.0, "V": 4.0})])
    assert extract(loaded, NOW).rows.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    order = rng.permutation(20_000)
    text = "pressure,vibration,quality\n" + "".join(f"{number},0,good\n" for number in order)
    assert extract(write_project(tmp_path, text), NOW).rows[:, 0].tolist() == order.tolist()


def test_the_files_are_parsed_once_for_each_content(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    first = extract(loaded, NOW)
    (stored,) = source_files(loaded)
    before = stored.stat()
    assert extract(loaded, NOW).fingerprint == first.fingerprint
    after = stored.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "change",
    [{"data": "rows = [0, 2]"}, {"features": FEATURES}, {"target": 'task = "classification"'}],
    ids=lambda change: next(iter(change)),
)
def test_what_another_project_reads_from_the_same_file_is_read_anew(tmp_path: Path, change: dict[str, str]) -> None:
    text = "pressure,vibration,quality\n1,10,5\n2,20,7\n3,30,5\n"
    before = {"features": '[[features]]\nname = "pressure"\n', "target": REGRESSION}
    old = extract(write_project(tmp_path / "used", text, **before), NOW)
    changed = write_project(tmp_path / "used", text, **(before | change))
    fresh = write_project(tmp_path / "fresh", text, **(before | change))
    assert extract(changed, NOW).fingerprint == extract(fresh, NOW).fingerprint != old.fingerprint
    assert len(source_files(changed)) == 1


def test_a_file_that_changed_is_read_anew_and_the_old_rows_are_forgotten(tmp_path: Path) -> None:
    extract(write_project(tmp_path), NOW)
    changed = write_project(tmp_path, ROWS.replace("1,10", "9,90"))
    assert extract(changed, NOW).rows[0].tolist() == [9.0, 90.0]
    assert len(source_files(changed)) == 1


def test_a_change_that_breaks_the_file_is_refused_although_good_rows_were_stored(tmp_path: Path) -> None:
    extract(write_project(tmp_path), NOW)
    told = refusal(write_project(tmp_path, ROWS.replace("1,10", "high,10")))
    assert told.startswith("rows0.csv: row 0, column 'pressure': 'high' is not a number")


def test_a_refused_file_leaves_nothing_behind_that_could_be_read(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, ROWS.replace("1,10", "high,10"))
    refusal(loaded)
    assert source_files(loaded) == []


def test_a_file_that_went_away_is_refused(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    extract(loaded, NOW)
    loaded.data_paths[0].unlink()
    assert refusal(loaded).startswith("rows0.csv: cannot be read: No such file or directory; check data.path")


# --- the fleet's rows: what is known when -----------------------------------------------------------------------------


def test_labelled_rows_follow_the_own_rows_in_the_order_of_their_scoring(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    push_labelled(loaded, [row("late", 6.0, 60.0, scored_utc_s=5.0, known_utc_s=6.0)])
    push_labelled(loaded, [row("b", 5.0, 50.0, label="scrap"), row("a", 4.0, 40.0)])
    table = extract(loaded, NOW)
    assert table.rows[3:].tolist() == [[4.0, 40.0], [5.0, 50.0], [6.0, 60.0]]
    assert table.truth[3:].tolist() == [0.0, 1.0, 0.0]
    assert table.is_fleet.tolist() == [False] * 3 + [True] * 3


def test_a_truth_is_seen_from_the_moment_on_at_which_it_was_known(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    push_labelled(loaded, [row("a", known_utc_s=50.0), row("b", 5.0, 50.0, known_utc_s=60.0)])
    assert fleet_rows(loaded, 49.9) == []
    assert fleet_rows(loaded, 50.0) == [[4.0, 40.0]]
    assert fleet_rows(loaded, 60.0) == [[4.0, 40.0], [5.0, 50.0]]


def test_a_row_scored_after_the_moment_is_not_seen_whatever_its_truth_claims(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    push_labelled(loaded, [row("a", scored_utc_s=50.0, known_utc_s=2.0)])
    assert fleet_rows(loaded, 49.9) == []
    assert fleet_rows(loaded, 50.0) == [[4.0, 40.0]]


def test_a_run_as_of_a_moment_sees_the_same_whatever_was_pushed_since(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    push_labelled(loaded, [row("a")])
    before = extract(loaded, 10.0)
    push_labelled(loaded, [row("b", scored_utc_s=11.0, known_utc_s=12.0)])
    assert extract(loaded, 10.0).fingerprint == before.fingerprint
    assert extract(loaded, 12.0).fingerprint != before.fingerprint


def test_rows_chosen_for_what_they_are_are_marked(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    reasons = {"a": "background", "b": "uncertain", "c": "asked", "d": "novel"}
    push_labelled(loaded, [row(name, reason=reason) for name, reason in reasons.items()])
    assert extract(loaded, NOW).is_chosen.tolist() == [False] * 3 + [False, True, False, True]


# --- the fleet's rows: once each --------------------------------------------------------------------------------------


def test_a_prediction_that_is_pushed_again_is_not_stored_again_and_keeps_its_truth(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    assert push_labelled(loaded, [row("a"), row("b")]) == 2
    files = labelled_files(loaded)
    assert push_labelled(loaded, [row("b", label="scrap"), row("a", 9.0, 90.0)]) == 0
    assert labelled_files(loaded) == files
    assert push_labelled(loaded, [row("c"), row("a", 9.0, 90.0)]) == 1
    assert fleet_rows(loaded) == [[4.0, 40.0]] * 3
    assert extract(loaded, NOW).truth[3:].tolist() == [0.0] * 3


def test_the_first_of_two_truths_in_one_push_stays(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    assert push_labelled(loaded, [row("a", label="scrap"), row("a", label="good")]) == 1
    assert extract(loaded, NOW).truth[3:].tolist() == [1.0]


def test_a_row_that_lies_in_two_files_is_read_once(tmp_path: Path) -> None:
    here, there = write_project(tmp_path / "here"), write_project(tmp_path / "there")
    push_labelled(here, [row("a", 5.0, 50.0, known_utc_s=7.0)])
    push_labelled(there, [row("a", 4.0, 40.0, known_utc_s=3.0), row("b", 6.0, 60.0)])
    (copied,) = labelled_files(there)
    (here.state / "features" / "labelled" / "copied.parquet").write_bytes(copied.read_bytes())
    assert fleet_rows(here) == [[4.0, 40.0], [6.0, 60.0]]


def test_pushing_nothing_stores_nothing(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    assert push_labelled(loaded, []) == 0
    assert labelled_files(loaded) == []
    assert fleet_rows(loaded) == []


# --- the fleet's rows: values -----------------------------------------------------------------------------------------


def test_a_missing_value_of_the_fleet_is_nan_where_it_may_be_missing(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, features=MAY_MISS)
    push_labelled(loaded, [row("a", 4.0, None)])
    assert fleet_rows(loaded)[0] == pytest.approx([4.0, math.nan], nan_ok=True)
    assert left_out(loaded) == 0


def test_a_row_that_lacks_a_value_that_may_not_be_missing_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = write_project(tmp_path, features=MAY_MISS)
    push_labelled(loaded, [row("a", None, 40.0, reason="uncertain"), row("b", 5.0, 50.0, label="scrap")])
    table = extract(loaded, NOW)
    assert table.rows[3:].tolist() == [[5.0, 50.0]]
    assert table.truth[3:].tolist() == [1.0]
    assert table.is_fleet.tolist() == [False] * 3 + [True]
    assert not table.is_chosen.any()
    assert left_out(loaded) == 1
    assert "1 labelled rows" in caplog.text


def test_rows_that_are_not_known_yet_are_not_counted_as_left_out(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    push_labelled(loaded, [row("a", None, 40.0, known_utc_s=NOW + 1)])
    assert left_out(loaded) == 0


def test_values_of_the_fleet_stand_under_their_names_whatever_the_order_of_the_bundle(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    push_labelled(loaded, [row("a", features={"vibration": 40.0, "pressure": 4.0}), row("b", 5.0, 50.0)])
    push_labelled(loaded, [row("c", features={"vibration": 60.0, "pressure": 6.0})])
    assert fleet_rows(loaded) == [[4.0, 40.0], [5.0, 50.0], [6.0, 60.0]]
    (tmp_path / "fieldloop.toml").unlink()
    turned = write_project(tmp_path, features='[[features]]\nname = "vibration"\n[[features]]\nname = "pressure"\n')
    assert fleet_rows(turned) == [[40.0, 4.0], [50.0, 5.0], [60.0, 6.0]]


def test_a_value_of_a_feature_that_the_project_does_not_have_waits_for_one_that_has_it(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, features='[[features]]\nname = "pressure"\n')
    push_labelled(loaded, [row("a", 4.0, 40.0), row("b", features={"pressure": 5.0})])
    assert fleet_rows(loaded) == [[4.0], [5.0]]
    assert fleet_rows(write_project(tmp_path)) == [[4.0, 40.0]]


def test_a_category_of_the_fleet_keeps_its_meaning_when_the_project_declares_more(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, COLOURED, features=RED_BLUE)
    push_labelled(loaded, [coloured("a", "red"), coloured("b", "blue"), coloured("c", None)])
    assert [code for (code,) in fleet_rows(loaded)] == pytest.approx([0.0, 1.0, math.nan], nan_ok=True)
    wider = write_project(tmp_path, COLOURED, features=BLUE_GREY_RED)
    assert [code for (code,) in fleet_rows(wider)] == pytest.approx([2.0, 0.0, math.nan], nan_ok=True)


def test_rows_of_a_category_that_the_project_no_longer_declares_are_left_out_and_counted(tmp_path: Path) -> None:
    text = "colour,quality\nblue,good\nblue,scrap\n"
    push_labelled(write_project(tmp_path, text, features=RED_BLUE), [coloured("a", "red"), coloured("b", "blue")])
    fewer = write_project(tmp_path, text, features=COLOUR.format('"blue"'))
    assert fleet_rows(fewer) == [[0.0]]
    assert left_out(fewer) == 1


def test_a_feature_that_was_a_category_once_and_is_a_number_now_keeps_the_rows_that_are_numbers(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    old = [
        row("a", features={"pressure": "high", "vibration": 1.0}),
        row("b", features={"pressure": "7.5", "vibration": 2.0}),
        row("c", features={"pressure": 8.0, "vibration": 3.0}),
    ]
    push_labelled(loaded, old)
    push_labelled(loaded, [row("d", 9.0, 4.0), row("e", 1e39, 5.0)])
    assert fleet_rows(loaded) == [[7.5, 2.0], [8.0, 3.0], [9.0, 4.0]]
    assert left_out(loaded) == 2


def test_a_feature_that_was_a_number_once_and_is_a_category_now_keeps_the_rows_that_name_one(tmp_path: Path) -> None:
    text, features = "colour,quality\n1,good\n2,scrap\n", COLOUR.format('"1", "2"')
    loaded = write_project(tmp_path, text, features=features)
    push_labelled(loaded, [row("a", features={"colour": 2.0}), row("b", features={"colour": None})])
    assert [code for (code,) in fleet_rows(loaded)] == pytest.approx([math.nan], nan_ok=True)
    push_labelled(loaded, [coloured("c", "1")])
    assert [code for (code,) in fleet_rows(loaded)] == pytest.approx([math.nan, 0.0], nan_ok=True)
    assert left_out(loaded) == 1


def test_a_whole_number_and_its_text_are_one_label(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, "pressure,vibration,quality\n1,10,0\n2,20,1\n")
    push_labelled(loaded, [row("a", label=1.0), row("b", label="0")])
    assert extract(loaded, NOW).truth[2:].tolist() == [1.0, 0.0]


def test_the_truth_of_a_regression_may_come_as_a_text(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, VALUES, target=REGRESSION)
    push_labelled(loaded, [row("a", label=1.5), row("b", label="2.5")])
    assert extract(loaded, NOW).truth[2:].tolist() == [1.5, 2.5]


def test_a_label_of_the_fleet_that_is_none_of_the_labels_is_refused(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    push_labelled(loaded, [row("a"), row("b", label="ruined")])
    told = refusal(loaded)
    assert told.startswith(".fieldloop/features/labelled: row 1, column 'label': 'ruined' is none of 'good', 'scrap'")


def test_a_label_that_is_no_number_is_refused_for_regression(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, VALUES, target=REGRESSION)
    with pytest.raises(DataError, match="label 'good' of prediction 'a' is not a number, but the task is regression"):
        push_labelled(loaded, [row("a")])


def test_rows_of_another_project_in_the_same_state_folder_are_left_out_and_counted(tmp_path: Path) -> None:
    push_labelled(write_project(tmp_path, COLOURED, features=RED_BLUE), [coloured("a", "blue")])
    loaded = write_project(tmp_path)
    assert fleet_rows(loaded) == []
    assert left_out(loaded) == 1


def test_labels_from_when_the_task_was_classification_are_refused_as_values(tmp_path: Path) -> None:
    push_labelled(write_project(tmp_path), [row("a")])
    told = refusal(write_project(tmp_path, VALUES, target=REGRESSION))
    assert told.startswith(".fieldloop/features/labelled: row 0, column 'label': 'good' is not a number")


def test_rows_from_before_a_feature_was_added_lack_its_value_where_it_may_be_missing(tmp_path: Path) -> None:
    before = [row("a", features={"pressure": 4.0})]
    push_labelled(write_project(tmp_path, features='[[features]]\nname = "pressure"\n'), before)
    loaded = write_project(tmp_path, features=MAY_MISS)
    push_labelled(loaded, [row("b", 5.0, 50.0)])
    first, second = fleet_rows(loaded)
    assert first == pytest.approx([4.0, math.nan], nan_ok=True)
    assert second == [5.0, 50.0]
    strict = write_project(tmp_path)
    assert fleet_rows(strict) == [[5.0, 50.0]]
    assert left_out(strict) == 1


def test_files_of_version_0_1_are_read(tmp_path: Path) -> None:
    features = FEATURES + RED_BLUE
    loaded = write_project(
        tmp_path, "pressure,vibration,colour,quality\n1,10,red,good\n2,20,,scrap\n", features=features
    )
    folder = loaded.state / "features" / "labelled"
    folder.mkdir(parents=True)
    # As push_labelled wrote it when rows had their values in the project's order.
    table = pa.table(
        {
            "prediction_id": ["a", "b", "c"],
            "device": ["one"] * 3,
            "bundle": ["quality/1"] * 3,
            "scored_utc_s": [1.0, 2.0, 3.0],
            "known_utc_s": [2.0, 3.0, 4.0],
            "reason": ["asked", "uncertain", "asked"],
            "truth": ["good", "scrap", "good"],
            "x.pressure": pa.array([4.0, 5.0, None], type=pa.float64()),
            "x.vibration": pa.array([40.0, 50.0, 60.0], type=pa.float64()),
            "x.colour": pa.array(["blue", None, "red"], type=pa.string()),
        }
    )
    pa.parquet.write_table(table, folder / "0123456789abcdef.parquet", compression="zstd")
    push_labelled(loaded, [row("a"), row("d", features={"colour": None, "vibration": 70.0, "pressure": 7.0})])
    assert fleet_rows(loaded) == [
        [4.0, 40.0, 1.0],
        pytest.approx([7.0, 70.0, math.nan], nan_ok=True),
        pytest.approx([5.0, 50.0, math.nan], nan_ok=True),
    ]
    assert left_out(loaded) == 1


# --- files ------------------------------------------------------------------------------------------------------------


def pushed_thrice(folder: Path) -> LoadedProject:
    loaded = write_project(folder)
    for name in "abc":
        push_labelled(loaded, [row(name)])
    return loaded


def test_each_push_is_one_file_that_is_never_changed(tmp_path: Path) -> None:
    loaded = pushed_thrice(tmp_path)
    before = {path: path.read_bytes() for path in labelled_files(loaded)}
    assert len(before) == 3
    push_labelled(loaded, [row("d"), row("a", 9.0, 90.0)])
    after = {path: path.read_bytes() for path in labelled_files(loaded)}
    assert after.items() > before.items()


def test_the_stored_files_are_plain_parquet_that_other_tools_read(tmp_path: Path) -> None:
    tables = [pa.parquet.read_table(path) for path in labelled_files(pushed_thrice(tmp_path))]
    found = pa.concat_tables(tables).sort_by("prediction_id").select(["prediction_id", "x.pressure", "truth"])
    assert found.to_pydict() == {"prediction_id": ["a", "b", "c"], "x.pressure": [4.0] * 3, "truth": ["good"] * 3}


# --- windows of raw readings ------------------------------------------------------------------------------------------

READINGS = "x,quality\n" + "".join(f"{n},good\n" for n in range(8))
SIGNAL = """
[signal]
rate_hz = 10
size = {size}
step = 2

[[signal.channels]]
name = "x"
statistics = ["mean"]
"""


def test_rows_of_the_fleet_that_were_made_of_other_windows_are_left_out_and_counted(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, READINGS, features=SIGNAL.format(size=4))
    of = {"a": "4 readings at 10 Hz", "b": "6 readings at 10 Hz", "c": "4 readings at 20 Hz", "d": ""}
    push_labelled(loaded, [row(name, features={"x_mean": 5.0}, windows=windows) for name, windows in of.items()])
    assert fleet_rows(loaded) == [[5.0]]
    assert left_out(loaded) == 3
    wider = write_project(tmp_path, READINGS, features=SIGNAL.format(size=6))
    assert fleet_rows(wider) == [[5.0]]


def test_rows_that_were_stored_before_there_were_windows_are_of_none(tmp_path: Path) -> None:
    loaded = write_project(tmp_path)
    push_labelled(loaded, [row("a")])
    (stored,) = labelled_files(loaded)
    pa.parquet.write_table(pa.parquet.read_table(stored).drop_columns(["windows"]), stored)
    assert fleet_rows(loaded) == [[4.0, 40.0]]
    push_labelled(loaded, [row("b"), row("c", windows="4 readings at 10 Hz")])
    assert fleet_rows(loaded) == [[4.0, 40.0], [4.0, 40.0]]
    assert left_out(loaded) == 1
