"""Writes a small copy of a project: few rows, few trials, stores of its own. What a test of its pipeline runs on.

The file is taken as its author wrote it, so that a key that is wrong there is wrong in the copy too.
"""

import tomllib
from pathlib import Path
from shutil import copyfile
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from edge_agent.durable import replace_file
from trainer.errors import DataError, ProjectError
from trainer.features.files import read_joined
from trainer.features.source import whole_rows
from trainer.features.view_rows import LABEL_KNOWN, read_view_rows
from trainer.project.learning import DataSection
from trainer.project.loading import FILE_NAME
from trainer.project.project import LoadedProject
from trainer.project.toml_text import toml_of

ROWS_NAME: Final = "rows.parquet"
# Of each label, where there are as many: with fewer the latest rows may miss one.
_LEAST_OF_A_LABEL: Final = 40
_NAME_CHARACTERS: Final = 56
# What only says whom to tell, where to keep things, and when to begin; and what a model of few rows need not show.
_LEFT_OUT: Final = ("stores", "alerts", "triggers", "state")
_OF_VIEWS: Final = frozenset({"view", "labels", "zone", "epoch"})
_LOOSE_GATE: Final = {
    "min_gain_over_baseline": -1e9,
    "max_loss_to_previous": 1e9,
    "max_parity_loss": 1.0,
    "max_chance": 1.0,
}


def write_sample(loaded: LoadedProject, file: Path, out: Path, *, rows: int, trials: int, now_utc_s: float) -> int:
    """Write the copy into a folder, and return how many rows it has.

    Args:
        loaded: the project.
        file: its file.
        out: folder, which exists.
        rows: so many at most: evenly spread, of each label some; of a signal, the latest readings.
        trials: of the search, at most.
        now_utc_s: of a view of labels, what became known later is no row.

    Raises:
        DataError: the rows cannot be read.
        ProjectError: the folder cannot be written.
    """
    table = _view_rows(loaded, now_utc_s) if loaded.project.data.views else read_joined(loaded.data_paths)[0]
    first, last = loaded.project.data.rows or (0, table.num_rows)
    table = table.slice(first, last - first)
    if loaded.project.data.views:
        table = whole_rows(table, loaded.project, loaded.data_name, None)
    if not table.num_rows:
        raise DataError(f"{loaded.data_name}: data.rows names no row that is there")
    chosen = table.take(pa.array(_choice(loaded, table, rows)))
    try:
        pq.write_table(chosen, out / ROWS_NAME)
        if loaded.project.data.schema is not None:
            copyfile(loaded.folder / loaded.project.data.schema, out / Path(loaded.project.data.schema).name)
        written = tomllib.loads(file.read_text(encoding="utf-8"))
        replace_file(out / FILE_NAME, _text(written, trials, loaded.project.data).encode())
    except OSError as error:
        raise ProjectError(f"{out}: the sample cannot be written: {error.strerror or error}") from error
    return int(chosen.num_rows)


def _view_rows(loaded: LoadedProject, now_utc_s: float) -> Any:  # noqa: ANN401 - Arrow ships no types
    """Return the labelled rows with the features that were known at their times, as a file of them would hold them."""
    tables = [table for _, table in read_view_rows(loaded, now_utc_s)]
    kept = [name for name in tables[0].column_names if name != LABEL_KNOWN]
    try:
        return pa.concat_tables([table.select(kept) for table in tables], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"{loaded.data_name}: files of labelled rows must be alike: {error}") from error


def _choice(loaded: LoadedProject, table: Any, rows: int) -> NDArray[np.int64]:  # noqa: ANN401 - Arrow ships no types
    """Return the numbers of the rows that are taken, in order."""
    count = table.num_rows
    project = loaded.project
    if project.signal is not None:
        return np.arange(max(count - rows, 0), count)
    if project.target.task == "regression" or project.target.column not in table.column_names:
        return _spread(np.arange(count), rows)
    labels = pc.cast(table.column(project.target.column), pa.string()).combine_chunks().dictionary_encode().indices
    codes = np.asarray(pc.fill_null(labels, -1))
    groups = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    taken = [_spread(group, max(round(rows * len(group) / count), _LEAST_OF_A_LABEL)) for group in groups]
    return np.sort(np.concatenate(taken))


def _spread(numbers: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    if wanted >= len(numbers):
        return numbers
    return numbers[np.linspace(0, len(numbers) - 1, wanted).round().astype(np.int64)]


def _text(written: dict[str, Any], trials: int, read: DataSection) -> str:
    """Return the project file of the copy."""
    project = {key: value for key, value in written.items() if key not in _LEFT_OUT}
    project["name"] = f"{project['name'][:_NAME_CHARACTERS]}-sample"
    data = {key: value for key, value in project["data"].items() if key not in {"rows", "judge"}}
    if read.views:
        # What is written has its features, and times that say their zone.
        data = {key: value for key, value in data.items() if key not in _OF_VIEWS} | {"timestamp": read.time}
    if "schema" in data:
        data["schema"] = Path(data["schema"]).name
    project["data"] = {**data, "path": [ROWS_NAME]}
    training = project.get("training", {})
    project["training"] = {**training, "trials": min(training.get("trials", trials), trials)}
    gate = {key: value for key, value in project.get("gate", {}).items() if key != "slices"}
    project["gate"] = {**gate, **_LOOSE_GATE}
    lines = ["# A small copy that `fieldloop sample` made for tests: change the project, not this file."]
    lines += [f"{toml_of(key)} = {toml_of(value)}" for key, value in project.items()]
    return "\n".join(lines) + "\n"
