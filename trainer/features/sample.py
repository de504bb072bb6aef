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
from trainer.project.loading import FILE_NAME
from trainer.project.project import LoadedProject
from trainer.project.toml_text import toml_of

ROWS_NAME: Final = "rows.parquet"
# Of each label, where there are as many: with fewer the latest rows may miss one.
_LEAST_OF_A_LABEL: Final = 40
_NAME_CHARACTERS: Final = 56
# What only says whom to tell, where to keep things, and when to begin; and what a model of few rows need not show.
_LEFT_OUT: Final = ("stores", "alerts", "triggers", "state")
_LOOSE_GATE: Final = {
    "min_gain_over_baseline": -1e9,
    "max_loss_to_previous": 1e9,
    "max_parity_loss": 1.0,
    "max_chance": 1.0,
}


def write_sample(loaded: LoadedProject, file: Path, out: Path, *, rows: int, trials: int) -> int:
    """Write the copy into a folder, and return how many rows it has.

    Args:
        loaded: the project.
        file: its file.
        out: folder, which exists.
        rows: so many at most: evenly spread, of each label some; of a signal, the latest readings.
        trials: of the search, at most.

    Raises:
        DataError: the rows cannot be read.
        ProjectError: the folder cannot be written, or the rows come from views of the store.
    """
    if loaded.project.data.views or not loaded.data_paths:
        raise ProjectError(
            f"{file}: its rows come from the feature store, and a copy would have none; write them into a file with "
            "fieldloop features extract, and make the copy of a project over that"
        )
    table, _ = read_joined(loaded.data_paths)
    first, last = loaded.project.data.rows or (0, table.num_rows)
    table = table.slice(first, last - first)
    if not table.num_rows:
        raise DataError(f"{loaded.data_paths[0]}: data.rows names no row that is there")
    chosen = table.take(pa.array(_choice(loaded, table, rows)))
    try:
        pq.write_table(chosen, out / ROWS_NAME)
        if loaded.project.data.schema is not None:
            copyfile(loaded.folder / loaded.project.data.schema, out / Path(loaded.project.data.schema).name)
        replace_file(out / FILE_NAME, _text(tomllib.loads(file.read_text(encoding="utf-8")), trials).encode())
    except OSError as error:
        raise ProjectError(f"{out}: the sample cannot be written: {error.strerror or error}") from error
    return int(chosen.num_rows)


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


def _text(written: dict[str, Any], trials: int) -> str:
    """Return the project file of the copy."""
    project = {key: value for key, value in written.items() if key not in _LEFT_OUT}
    project["name"] = f"{project['name'][:_NAME_CHARACTERS]}-sample"
    data = {key: value for key, value in project["data"].items() if key not in {"rows", "judge"}}
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
