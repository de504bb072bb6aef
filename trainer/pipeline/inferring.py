"""Infers a schema from rows: what was observed, widened, is what may come."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from edge_agent.bundle import Feature
from trainer.features.guess import widened
from trainer.features.table import TrainingTable
from trainer.project.schema import ColumnSchema, Schema

# Gaps come in bursts: this many times what was observed, and a little, is still usual.
_MORE_MISSING: Final = 2.0
_ANY_MISSING: Final = 0.01


def infer_schema(table: TrainingTable, features: Sequence[Feature], target: str, known: Schema | None) -> Schema:
    """Return what rows like these must be.

    Args:
        table: the rows.
        features: what its columns are.
        target: the learnt column.
        known: the schema so far: it keeps version and review when nothing differs.
    """
    columns = []
    for place, feature in enumerate(features):
        values = table.rows[:, place].astype(np.float64)
        present = values[~np.isnan(values)]
        share = 1 - len(present) / len(values)
        max_missing = 0.0 if not share else round(min(1.0, _MORE_MISSING * share + _ANY_MISSING), 4)
        if feature.dtype == "category":
            columns.append(
                ColumnSchema(
                    name=feature.name, dtype="category", categories=feature.categories, max_missing=max_missing
                )
            )
            continue
        low, high = widened(float(present.min()), float(present.max())) if len(present) else (None, None)
        columns.append(ColumnSchema(name=feature.name, minimum=low, maximum=high, max_missing=max_missing))
    found = Schema(target=target, labels=table.labels, columns=tuple(columns))
    if known is None:
        return found
    if known.sha256 == found.sha256:
        return known
    return Schema(
        version=known.version + 1, target=target, labels=found.labels, columns=found.columns, review=known.review
    )
