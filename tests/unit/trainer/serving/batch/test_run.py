"""A file is scored part by part: the answers are the device's, and those of a run that was interrupted are the same."""

import fcntl
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import RowError
from tests.bundles import FEATURES, LABELS
from tests.serving import Shelf
from trainer.errors import BusyError, DataError
from trainer.serving.batch.model import opened_model
from trainer.serving.batch.run import Options, refusals_text, score_file
from trainer.serving.errors import ServingError
from trainer.serving.model import open_model

N_ROWS = 1000
SMALL = Options(keep=("id",), part_rows=300)


@pytest.fixture
def rows(tmp_path):
    """1,000 rows in row groups of 128; three of them are refused."""
    values = np.random.default_rng(5).normal(size=(N_ROWS, len(FEATURES)))
    values[[17, 500]] = np.nan
    values[700, 1] = 1e39
    columns = dict(zip(FEATURES, values.T, strict=True))
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": np.arange(N_ROWS), **columns}), path, row_group_size=128)
    return path


@pytest.fixture
def score(bundles, rows, tmp_path):
    def run(out="out.parquet", options=SMALL, version=1, of=rows, progress=lambda *_: None):
        with opened_model(bundles[version]) as model:
            return score_file(of, tmp_path / out, model, options, progress), tmp_path / out

    return run


class KilledError(Exception):
    pass


def kill_at(n_rows):
    def progress(done, _):
        if done >= n_rows:
            raise KilledError

    return progress


def test_the_answers_are_those_of_a_device(score, bundles, rows):
    outcome, out = score()
    table = pq.read_table(out)
    assert table.column_names == ["id", "label", "confidence", "refused"]
    assert table["id"].to_pylist() == list(range(N_ROWS))
    model = open_model(Shelf(bundles[1]).current(), 1, SystemClock())
    given = pq.read_table(rows).select(FEATURES).to_pylist()
    expected = model.inline.score_batch([list(raw.values()) for raw in given])
    for wanted, answer in zip(expected, table.to_pylist(), strict=True):
        if isinstance(wanted, RowError):
            assert answer["refused"] == f"{wanted.kind}: {wanted}"
            assert (answer["label"], answer["confidence"]) == (None, None)
        else:
            assert (answer["label"], answer["refused"]) == (wanted.label, None)
            assert abs(answer["confidence"] - wanted.confidence) < 1e-6
    assert (outcome.n_rows, outcome.refused) == (N_ROWS, {"missing": 2, "out_of_range": 1})
    assert refusals_text(outcome)[1] == "  row 17: missing: feature 'a' has no value"
    assert not out.with_name("out.parquet.parts").exists()


def test_each_label_has_a_column_where_that_is_wanted(score):
    _, out = score(options=Options(probabilities=True))
    table = pq.read_table(out)
    columns = [table[f"probability_{label}"].to_numpy() for label in LABELS]
    np.testing.assert_allclose(np.nansum(columns, axis=0)[:17], 1.0, rtol=1e-5)
    assert np.isnan(columns[0][17])


@pytest.mark.parametrize("killed_at", [0, 300, 900, 1000])
def test_a_run_that_is_taken_up_again_gives_the_same_bytes(score, killed_at):
    _, whole = score("whole.parquet")
    with pytest.raises(KilledError):
        score(progress=kill_at(killed_at))
    seen = []
    outcome, out = score(progress=lambda done, total: seen.append((done, total)))
    assert outcome.resumed_rows == killed_at == seen[0][0]
    assert out.read_bytes() == whole.read_bytes()
    assert outcome.refused == {"missing": 2, "out_of_range": 1}


def test_a_part_that_was_altered_is_scored_again(score, tmp_path):
    _, whole = score("whole.parquet")
    with pytest.raises(KilledError):
        score(progress=kill_at(900))
    part = tmp_path / "out.parquet.parts" / "part-000001.arrow"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    outcome, out = score()
    assert outcome.resumed_rows == 300
    assert out.read_bytes() == whole.read_bytes()


def test_a_record_that_was_cut_is_no_record(score, tmp_path):
    with pytest.raises(KilledError):
        score(progress=kill_at(900))
    record = tmp_path / "out.parquet.parts" / "progress.json"
    record.write_bytes(record.read_bytes()[:40])
    assert score()[0].resumed_rows == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [({"version": 2}, "model toy/1"), ({"options": Options(part_rows=300)}, "columns"), ({"touch": True}, "rows")],
)
def test_parts_of_another_run_are_never_mixed_in(score, rows, change, said):
    with pytest.raises(KilledError):
        score(progress=kill_at(900))
    if change.pop("touch", False):
        table = pq.read_table(rows)
        pq.write_table(table.slice(1), rows)
    with pytest.raises(ServingError, match=f"parts of another run: {said}.*--restart"):
        score(**change)
    options = change.pop("options", SMALL)
    restarted = Options(keep=options.keep, part_rows=300, restart=True)
    assert score(**change, options=restarted)[0].resumed_rows == 0


def test_two_processes_never_score_into_the_same_file(score, tmp_path):
    with pytest.raises(KilledError):
        score(progress=kill_at(300))
    with (tmp_path / "out.parquet.parts" / "lock").open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="another process scores these rows"):
            score()


def test_csv_has_the_same_answers_in_and_out(score, rows, tmp_path):
    _, parquet = score()
    as_text = tmp_path / "rows.csv"
    pa_csv.write_csv(pq.read_table(rows), as_text)
    outcome, out = score("out.csv", of=as_text)
    assert outcome.refused == {"missing": 2, "out_of_range": 1}
    found, expected = pa_csv.read_csv(out), pq.read_table(parquet)
    assert found["label"].to_pylist() == [label or "" for label in expected["label"].to_pylist()]
    np.testing.assert_allclose(found["confidence"].to_numpy(), expected["confidence"].to_numpy(), rtol=1e-6)
    with pytest.raises(KilledError):
        score("again.csv", of=as_text, progress=kill_at(600))
    assert score("again.csv", of=as_text)[1].read_bytes() == out.read_bytes()


def test_a_cell_of_csv_that_is_no_number_is_refused_with_its_row(score, tmp_path):
    file = tmp_path / "cells.csv"
    file.write_text('a,b,c\n1,2,3\n1,"two\nlines",3\n1,2,3\n', encoding="utf-8")
    outcome, _ = score(of=file, options=Options())
    assert outcome.examples == ((1, "not_a_number: feature 'b' is 'two\\nlines', not a number"),)
    assert outcome.n_rows == 3


@pytest.mark.parametrize(
    ("text", "keep", "said"),
    [
        ("a,b\n1,2\n", (), "column 'c' is missing"),
        ("a,b,c,c\n1,2,3,4\n", (), "two columns are named 'c'"),
        ("a,b,c\n1,2,3\n1,2\n", (), "cannot be read as CSV or Parquet"),
        ("a,b,c\n1,2,3\n", ("id",), "no column 'id' to carry along; there are a, b, c"),
        ("a,b,c,label\n1,2,3,x\n", ("label",), "column 'label' cannot be carried along"),
        ("", (), "cannot be read as CSV or Parquet"),
    ],
)
def test_a_file_that_cannot_be_scored_is_told_why(score, tmp_path, text, keep, said):
    file = tmp_path / "bad.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        score(of=file, options=Options(keep=keep))


def test_a_file_that_is_not_there_is_told(score, tmp_path):
    with pytest.raises(DataError, match=r"nothing\.csv: cannot be read"):
        score(of=tmp_path / "nothing.csv")


def test_a_file_without_a_row_gives_a_file_without_an_answer(score, rows, tmp_path):
    empty = tmp_path / "empty.parquet"
    pq.write_table(pq.read_table(rows).slice(0, 0), empty)
    outcome, out = score(of=empty)
    assert (outcome.n_rows, pq.read_table(out).num_rows) == (0, 0)
    assert json.dumps(pq.read_schema(out).names) == json.dumps(["id", "label", "confidence", "refused"])


def test_a_model_that_takes_one_row_at_a_time_has_the_same_answers(score, bundles, rows, tmp_path):
    _, together = score()
    with opened_model(bundles[1]) as model:
        model._bound = None
        score_file(rows, tmp_path / "each.parquet", model, SMALL, lambda *_: None)
    found, expected = pq.read_table(tmp_path / "each.parquet"), pq.read_table(together)
    assert found["label"].to_pylist() == expected["label"].to_pylist()
    assert found["refused"].to_pylist() == expected["refused"].to_pylist()
