"""Step ``extract``: the rows to learn from, frozen as files of the run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from edge_agent.raw_signal import Signal
from trainer.features.store import extract_counted
from trainer.features.table import RowTimes, TrainingTable, fingerprint_of
from trainer.features.view_rows import views_used
from trainer.features.views.use import ViewRead, ViewUse
from trainer.pipeline.artefacts import load_arrays, load_value, save_arrays, save_value
from trainer.pipeline.outcome import Outcome
from trainer.project.project import LoadedProject, Project

VOCABULARIES_NAME: Final = "vocabularies.json"
VIEWS_NAME: Final = "views.json"
_SIGNAL_NAME: Final = "signal.json"


def extract_rows(
    loaded: LoadedProject, as_of_utc_s: float, folder: Path, read: Sequence[ViewRead] = ()
) -> Outcome[TrainingTable]:
    """Extract what was known at a time.

    Args:
        loaded: the project.
        as_of_utc_s: what became known later is no row.
        folder: of the step.
        read: what the sources of its views gave for it, to be told.

    Raises:
        DataError: the data are not what the project says.
    """
    extraction = extract_counted(loaded, as_of_utc_s)
    table = extraction.table
    save_arrays(
        folder / "table.npz",
        {
            "rows": table.rows,
            "truth": table.truth,
            "is_fleet": table.is_fleet,
            "is_chosen": table.is_chosen,
            "entity": table.entity,
            "n_judge": np.array(table.n_judge),
            **_times_as_arrays(table.times),
        },
    )
    if loaded.project.signal is not None:
        save_value(folder / _SIGNAL_NAME, loaded.project.signal.declared)
    save_value(folder / "table.json", {"names": table.names, "labels": table.labels, "sha256": table.fingerprint})
    save_value(folder / VOCABULARIES_NAME, _vocabularies(loaded.project, table.labels))
    uses = views_used(loaded)
    if uses:
        save_value(folder / VIEWS_NAME, uses)
    n_fleet = int(table.is_fleet.sum())
    origin = "views" if uses else "files"
    facts = (
        ("rows", f"{len(table.rows) - n_fleet:,} from {origin}, {n_fleet:,} from the fleet"),
        *((("views", _spoken(uses)),) if uses else ()),
        *_source_facts(read),
        *((("not known then", f"{extraction.unanswerable:,} rows left out"),) if extraction.unanswerable else ()),
        *((("only to judge", f"{table.n_judge:,}"),) if table.n_judge else ()),
        *((("of the fleet, not usable", f"{extraction.left_out:,}"),) if extraction.left_out else ()),
        *_signal_facts(loaded.project.signal),
        ("features", str(len(table.names))),
        ("sha256", table.fingerprint[:12]),
    )
    metrics = {
        "rows": float(len(table.rows)),
        "fleet_rows": float(n_fleet),
        "fleet_rows_left_out": float(extraction.left_out),
        **({"rows_not_known_then": float(extraction.unanswerable)} if uses else {}),
    }
    pushes = ", ".join(f"{view}: {number}" for view, number in loaded.pushes.items())
    params = {
        "data_sha256": table.fingerprint,
        **({"views": _spoken(uses)} if uses else {}),
        **({"views_through_push": pushes} if pushes else {}),
    }
    return Outcome(table, params=params, metrics=metrics, facts=facts)


def _spoken(uses: tuple[ViewUse, ...]) -> str:
    return ", ".join(f"{use.view}/{use.version}" for use in uses)


def _source_facts(read: Sequence[ViewRead]) -> tuple[tuple[str, str], ...]:
    given = [f"{each.view}: {each.given:,} rows, {each.added:,} of them new" for each in read if each.given]
    return (("read from their sources", "; ".join(given)),) if given else ()


def _vocabularies(project: Project, labels: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the names behind the numbers: of the target and of every category, in the order of their codes."""
    named = {feature.name: feature.categories for feature in project.features if feature.dtype == "category"}
    return {**({project.target.column: labels} if labels else {}), **named}


def _signal_facts(signal: Signal | None) -> tuple[tuple[str, str], ...]:
    if signal is None:
        return ()
    text = f"a row is a window of {signal.size} readings at {signal.rate_hz:g} Hz, one every {signal.step}"
    return (("signal", text),)


def load_rows(folder: Path) -> TrainingTable:
    """Read what `extract_rows` wrote."""
    arrays = load_arrays(folder / "table.npz")
    names, labels = load_names(folder)
    rows, truth = arrays["rows"].astype(np.float32), arrays["truth"].astype(np.float64)
    is_fleet, is_chosen = arrays["is_fleet"].astype(np.bool_), arrays["is_chosen"].astype(np.bool_)
    entity = arrays["entity"].astype(np.int64)
    n_judge = int(arrays["n_judge"]) if "n_judge" in arrays else 0
    times = None
    if "at" in arrays:
        at, known = arrays["at"].astype(np.float64), arrays["known"].astype(np.float64)
        times = RowTimes(at, known, arrays["series"].astype(np.int64))
    fingerprint = fingerprint_of(names, labels, rows, truth, is_fleet, is_chosen, entity, n_judge=n_judge, times=times)
    return TrainingTable(names, labels, rows, truth, is_fleet, is_chosen, entity, fingerprint, n_judge, times)


def _times_as_arrays(times: RowTimes | None) -> dict[str, NDArray[Any]]:
    return {} if times is None else {"at": times.at, "known": times.known, "series": times.series}


def load_signal(folder: Path) -> Signal | UnsetType:
    """Read how the rows of what `extract_rows` wrote were made of readings; unset where they were not."""
    path = folder / _SIGNAL_NAME
    return load_value(path, Signal) if path.exists() else UNSET


def load_views(folder: Path) -> tuple[ViewUse, ...]:
    """Read from which views the rows of what `extract_rows` wrote were taken; none where they were not."""
    path = folder / VIEWS_NAME
    return load_value(path, tuple[ViewUse, ...]) if path.exists() else ()


def load_names(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read the names of the features, and the labels, of what `extract_rows` wrote."""
    words = load_value(folder / "table.json", dict[str, str | tuple[str, ...]])
    return tuple(words["names"]), tuple(words["labels"])
