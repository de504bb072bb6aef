"""Joins rows of entities and times with the series of views, as of those times: SQL text and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trainer.features.offline.series import AVAILABLE, EVENT, names_of, quoted
from trainer.features.views.view import FeatureView

# Columns of the rows that are asked about: their order, and the moment.
ORDER: Final = "__order"
ASKED: Final = "__asked"
_US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """One view in a join.

    Attributes:
        view: with its ttl.
        series: what SQL reads its series from.
        features: which of its features, and the name that each has in the answer.
    """

    view: FeatureView
    series: str
    features: tuple[tuple[str, str], ...]


def join_sql(asked: str, parts: Sequence[Part]) -> str:
    """Return the query for features as of each row's moment.

    No value is given out that was not known at that moment, that is older than its view's ttl, or of a later event.

    Args:
        asked: table with the keys of all views, `ASKED` and `ORDER`.
        parts: of each view its series and features.

    Returns:
        SQL of a table with `ORDER` and the features, one row for each that was asked, in no order.
    """
    columns, joins = [f"asked.{ORDER}"], []
    for number, part in enumerate(parts):
        name = f"s{number}"
        keys = " AND ".join(f"asked.{quoted(key)} = {name}.{quoted(key)}" for key in part.view.keys)
        wanted = tuple(column for column, _ in part.features)
        # Only what is wanted is read.
        fields = f"{names_of(part.view.keys)}, {AVAILABLE}, {EVENT}, {names_of(wanted)}"
        series = f"(SELECT {fields} FROM {part.series}) AS {name}"  # noqa: S608 - names are quoted
        joins.append(f"ASOF LEFT JOIN {series} ON {keys} AND asked.{ASKED} >= {name}.{AVAILABLE}")
        for column, given in part.features:
            value = f"{name}.{quoted(column)}"
            if part.view.ttl_s is not None:
                limit = f"to_microseconds({round(part.view.ttl_s * _US_PER_S)})"
                value = f"CASE WHEN asked.{ASKED} - {name}.{EVENT} <= {limit} THEN {value} END"
            columns.append(f"{value} AS {quoted(given)}")
    return f"SELECT {', '.join(columns)} FROM {asked} AS asked {' '.join(joins)}"  # noqa: S608 - names are quoted
