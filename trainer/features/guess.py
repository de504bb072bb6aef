"""Guesses a project from what the columns of a file hold, for ``fieldloop init``; people correct it in the file.

A pure decision over column profiles: which column orders the rows, names the unit, is an input, and why another is not.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edge_agent.bundle import Feature, Rule, Task
from trainer.errors import DataError
from trainer.features.columns import Place, column_of
from trainer.features.files import read_joined
from trainer.features.profile import ColumnProfile, profile_column
from trainer.project.learning import TargetSection

_MAX_CATEGORIES: Final = 64
_MAX_CATEGORY_CHARACTERS: Final = 256
_MAX_NAME_CHARACTERS: Final = 64
# Whole numbers with more different values than this measure something.
_MAX_NUMBERED_CLASSES: Final = 20
_MAX_CLASSES: Final = 256
_ROWS_A_CLASS: Final = 10
_BINARY: Final = 2
# The share of different texts that are numbers from which on a column was meant to hold numbers.
_MEANT_AS_NUMBERS: Final = 0.5
# Beside what was observed, this share of the observed range is taken to be valid too.
_MARGIN: Final = 0.25
_MAX_FLOAT32: Final = float(np.finfo(np.float32).max)
# With fewer rows there is nothing to set aside.
_MIN_ROWS_TO_SPLIT: Final = 400

_INDEX_NAME = re.compile(r"(unnamed: ?\d+|index|row|row_?(id|number|no)|id|_id|__index_level_\d+__)", re.IGNORECASE)
_TIME_NAME = re.compile(r"(time|timestamp|date|date_?time|ts|epoch)(_?(utc|s|ms|us|ns|utc_s))?", re.IGNORECASE)
_ENTITY_NAME = re.compile(r"(device|station|machine|entity)(_?(id|name|no))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that is no input of the model, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Guess:
    """What a project over one file may look like.

    Attributes:
        target_reason: why the task was guessed so.
        features: in the order of the file.
        timestamp, entity: as in `DataSection`.
        n_rows: data rows of the file.
        training_rows: the first rows, to train on, so that later ones can be played; None: train on all.
        training_reason: why that many.
    """

    target: TargetSection
    target_reason: str
    features: tuple[Feature, ...]
    left_out: tuple[LeftOut, ...]
    timestamp: str | None
    entity: str | None
    n_rows: int
    training_rows: int | None
    training_reason: str


def guess_project(
    paths: Sequence[Path], target: str, *, task: Task | None = None, leave_out: Sequence[str] = ()
) -> Guess:
    """Read CSV or Parquet files, one after the other, and guess a project over their rows.

    Args:
        paths: the files, at least one.
        target: the column to learn.
        task: known; None: guessed.
        leave_out: columns that are no inputs, whatever they hold.

    Raises:
        DataError: unreadable or empty; no such column; an empty column; a target that nothing can be learnt about, or
            that lacks values; numbers with texts among them; or no column is left to learn from.
    """
    table, later = read_joined(paths)

    def place(column: str) -> Place:
        return Place(paths[0], column, later=later)

    for name in (target, *leave_out):
        column_of(table, place(name))
    profiles = tuple(profile_column(table, place(name)) for name in table.column_names if name not in leave_out)
    return guess_from(profiles, place(target), task=task, leave_out=leave_out)


def guess_from(
    profiles: Sequence[ColumnProfile], target_place: Place, *, task: Task | None, leave_out: Sequence[str]
) -> Guess:
    """Guess a project from the profiles of all columns that are not left out; see `guess_project`."""
    target = next((profile for profile in profiles if profile.name == target_place.column), None)
    if target is None:
        raise target_place.column_refusal("is the target, it cannot be left out")
    section, reason = _target(target, target_place, task)
    others = [profile for profile in profiles if profile is not target]
    timestamp = next((profile.name for profile in others if _is_timestamp(profile)), None)
    entity = next((profile.name for profile in others if profile.name != timestamp and _is_entity(profile)), None)
    features: list[Feature] = []
    left_out = [LeftOut(name, "as asked") for name in leave_out]
    for profile in others:
        if profile.name in (timestamp, entity):
            continue
        why_not = _why_no_feature(profile, Place(target_place.file, profile.name))
        if why_not:
            left_out.append(LeftOut(profile.name, why_not))
        else:
            features.append(_feature(profile))
    if not features:
        reasons = "; ".join(f"{column.name!r}: {column.reason}" for column in left_out)
        raise DataError(f"{target_place.file}: no column is left to learn from" + (f" ({reasons})" if reasons else ""))
    inputs = [profile for profile in others if profile.name in {feature.name for feature in features}]
    order = next((profile for profile in others if profile.name == timestamp), None)
    training_rows, training_reason = _training_rows(target, section, inputs, order)
    return Guess(
        target=section,
        target_reason=reason,
        features=tuple(features),
        left_out=tuple(left_out),
        timestamp=timestamp,
        entity=entity,
        n_rows=target.n_rows,
        training_rows=training_rows,
        training_reason=training_reason,
    )


def _target(profile: ColumnProfile, place: Place, task: Task | None) -> tuple[TargetSection, str]:
    if profile.kind not in ("number", "text"):
        raise place.column_refusal(f"holds {profile.stored_as}: neither classes nor numbers, so no target")
    if profile.n_missing:
        raise place.column_refusal(
            f"{profile.n_missing} of {profile.n_rows} rows have no value; a target must be known: drop those rows"
        )
    if profile.n_distinct < _BINARY:
        raise place.column_refusal("all rows have the same value; there is nothing to learn")
    guessed = task or _task(profile)
    if guessed == "regression":
        if profile.kind != "number":
            raise place.column_refusal(f"holds text, which is no target of a regression: {profile.refusal}")
        return TargetSection(column=profile.name, task="regression"), (
            f"numbers, {profile.n_distinct} different ones from {profile.minimum:g} to {profile.maximum:g}"
        )
    if not profile.names or len(profile.names) > _MAX_CLASSES:
        raise place.column_refusal(
            f"{profile.n_distinct} different values in {profile.n_rows} rows are too many for classes "
            f"(at most {_MAX_CLASSES}), or are no whole numbers; group them, or choose another target"
        )
    what = "texts" if profile.kind == "text" else "whole numbers"
    if guessed == "anomaly":
        return _detection(profile, place)
    section = TargetSection(column=profile.name, task="classification", labels=profile.names)
    return section, f"{profile.n_distinct} different {what} in {profile.n_rows} rows"


def _detection(profile: ColumnProfile, place: Place) -> tuple[TargetSection, str]:
    if len(profile.names) != _BINARY:
        raise place.column_refusal(
            f"{profile.n_distinct} different values: a detection of anomalies tells two labels apart, usual and not"
        )
    rows = dict(zip(profile.names, profile.early_rows, strict=True))
    usual, rare = sorted(profile.names, key=lambda name: -rows[name])
    section = TargetSection(column=profile.name, task="anomaly", labels=(usual, rare))
    return section, f"two labels, of which {usual!r} is the more frequent in the first half of {profile.n_rows} rows"


def _task(profile: ColumnProfile) -> Task:
    if profile.kind == "text":
        return "classification"
    few = max(_BINARY, min(_MAX_NUMBERED_CLASSES, profile.n_rows // _ROWS_A_CLASS))
    return "classification" if profile.is_whole and profile.n_distinct <= few else "regression"


def _is_timestamp(profile: ColumnProfile) -> bool:
    if profile.kind == "time":
        return True
    is_named = _TIME_NAME.fullmatch(profile.name) is not None
    has_order = profile.kind == "number" and profile.is_ordered and profile.n_distinct > 1
    return is_named and has_order and not profile.n_missing


def _is_entity(profile: ColumnProfile) -> bool:
    is_name = profile.kind == "text" or (profile.kind == "number" and profile.is_whole)
    repeats = profile.n_distinct < profile.n_rows
    return _ENTITY_NAME.fullmatch(profile.name) is not None and is_name and repeats and not profile.n_missing


def _why_no_feature(profile: ColumnProfile, place: Place) -> str:
    """Return why a column is no input; empty when it is one."""
    if not profile.name.strip() or len(profile.name) > _MAX_NAME_CHARACTERS:
        return f"a feature needs a name of 1 to {_MAX_NAME_CHARACTERS} characters"
    if profile.kind == "time":
        return "times; another column orders the rows already"
    if profile.kind == "other":
        return f"holds {profile.stored_as}, neither numbers nor texts"
    if profile.n_distinct == 1 and not profile.n_missing:
        return "every row has the same value"
    if profile.kind == "number":
        return _why_index(profile)
    return _why_no_category(profile, place)


def _why_index(profile: ColumnProfile) -> str:
    if profile.is_counting:
        return "an index: each row has the number of the one before plus one"
    is_key = profile.is_whole and not profile.n_missing and profile.n_distinct == profile.n_rows
    if is_key and _INDEX_NAME.fullmatch(profile.name):
        return "an index by its name, and every row has another number"
    return ""


def _why_no_category(profile: ColumnProfile, place: Place) -> str:
    n_numbers = sum(_is_number(name) for name in profile.names)
    is_declared = profile.stored_as.startswith("dictionary")
    many = profile.n_distinct > _MAX_CATEGORIES
    if not is_declared and n_numbers >= (_MEANT_AS_NUMBERS if many else 1.0) * profile.n_distinct:
        raise DataError(f"{profile.refusal}; or leave the column out: --leave-out {place.column!r}")
    if profile.n_distinct + profile.n_missing == profile.n_rows:
        return "every row has another text"
    if many:
        return f"{profile.n_distinct} different texts are too many for categories (at most {_MAX_CATEGORIES})"
    if any(len(name) > _MAX_CATEGORY_CHARACTERS for name in profile.names):
        return f"a text in it is longer than {_MAX_CATEGORY_CHARACTERS} characters"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _feature(profile: ColumnProfile) -> Feature:
    on_missing: Rule = "flag" if profile.n_missing else "refuse"
    if profile.kind == "text":
        return Feature(name=profile.name, dtype="category", categories=profile.names, on_missing=on_missing)
    low, high = widened(profile.minimum, profile.maximum)
    return Feature(name=profile.name, valid_min=low, valid_max=high, on_missing=on_missing)


def widened(minimum: float, maximum: float) -> tuple[float, float]:
    """Return a range of round numbers around an observed one: a quarter wider at each end, never across zero."""
    span = maximum - minimum
    margin = _MARGIN * span or max(abs(maximum), 1.0) * _MARGIN
    step = 10.0 ** math.floor(math.log10(margin))
    low = _rounded(math.floor((minimum - margin) / step) * step, minimum)
    high = _rounded(math.ceil((maximum + margin) / step) * step, maximum)
    if minimum >= 0:
        low = max(low, 0.0)
    elif maximum <= 0:
        high = min(high, 0.0)
    return max(low, -_MAX_FLOAT32), min(high, _MAX_FLOAT32)


def _rounded(value: float, observed: float) -> float:
    """Drop the digits that binary arithmetic adds; where that would cut off what was observed, stay there."""
    short = float(f"{value:.10g}")
    beyond = short - observed
    return short if beyond == 0 or (beyond > 0) == (value > observed) else observed


def _training_rows(
    profile: ColumnProfile, target: TargetSection, inputs: Sequence[ColumnProfile], order: ColumnProfile | None
) -> tuple[int | None, str]:
    half = profile.n_rows // 2
    if order is not None and not order.is_ordered:
        return None, f"The rows are not in the order of {order.name!r}: all train; sort them to keep the later ones."
    if profile.n_rows < _MIN_ROWS_TO_SPLIT:
        return None, f"{profile.n_rows} rows are few: all of them train."
    if target.task == "classification":
        rare = [name for name, rows in zip(profile.names, profile.early_rows, strict=True) if rows < _ROWS_A_CLASS]
        if rare:
            return None, f"The first half of the rows hardly knows the class {rare[0]!r}: all rows train."
    late = next((column.name for column in inputs if not column.n_early), None)
    if late is not None:
        return None, f"The first half of the rows has no value of {late!r}: all rows train."
    rest = "fieldloop demo --project . plays the loop on the rest"
    return half, f"The first half of {profile.n_rows} rows trains; {rest}."
