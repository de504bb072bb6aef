"""What ``fieldloop init`` guesses is a project that loads, and whose data are read, whatever the table holds."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.cli.project_text import project_text
from trainer.errors import DataError
from trainer.features.guess import guess_project, widened
from trainer.features.source import read_source
from trainer.project.loading import FILE_NAME, load_project

numbers = st.floats(-(2.0**100), 2.0**100, width=32)


@given(st.tuples(numbers, numbers).map(sorted))
def test_the_valid_range_holds_what_was_observed_and_does_not_cross_zero(observed: list[float]) -> None:
    minimum, maximum = observed
    low, high = widened(minimum, maximum)
    assert low <= minimum <= maximum <= high
    assert low < high
    assert minimum < 0 or low >= 0
    assert minimum == 0 or maximum > 0 or high <= 0


texts = st.text(st.characters(codec="utf-8"), max_size=6)
columns = st.one_of(
    st.lists(st.one_of(st.none(), numbers), min_size=12, max_size=12),
    st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=12, max_size=12),
    st.lists(st.one_of(st.none(), texts), min_size=12, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.lists(st.datetimes(), min_size=12, max_size=12),
    st.lists(st.lists(st.integers(0, 9), max_size=2), min_size=12, max_size=12),
)
targets = st.one_of(
    st.lists(st.integers(-3, 3), min_size=12, max_size=12),
    st.lists(numbers, min_size=12, max_size=12),
    st.lists(st.sampled_from(["good", "scrap", "1"]), min_size=12, max_size=12),
    columns,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=70), columns, min_size=1, max_size=4), targets)
def test_a_guessed_project_loads_and_its_data_are_read(inputs: dict[str, list[object]], target: list[object]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = {"the target": target, "one that tells something": [float(i % 5) for i in range(12)]}
        pa.parquet.write_table(pa.table(inputs | known), folder / "rows.parquet")
        try:
            guess = guess_project([folder / "rows.parquet"], "the target")
        except DataError:
            return
        (folder / FILE_NAME).write_text(project_text(guess, "guessed", ["rows.parquet"]), encoding="utf-8")
        assert read_source(load_project(folder)).num_rows == 12
