"""Finds in which columns a model takes texts, and which ones it knows: its encoders say it."""

import contextlib
from collections.abc import Sequence
from typing import Any

from edge_agent.bundle import Feature
from exporter.errors import UnsupportedError
from exporter.models.answers import answer_of, task_of
from exporter.models.model import Estimator
from exporter.models.trained_rows import frame_categories, knows_texts
from exporter.reading.models import READERS
from exporter.reading.reading import Reading, Texts

# Stands for the texts of the column that is followed to the encoders.
_PROBE = "\0"


class _Follower(Reading):
    """Reads a model for the sake of one column."""

    met: list[Sequence[object]]

    def meet(self, texts: Texts, categories: Sequence[object]) -> None:
        """Take note of categories of the column."""
        if texts is not None and _PROBE in texts:
            self.met.append(categories)


def known_texts(estimator: Estimator, n_columns: int) -> dict[int, tuple[str, ...]]:
    """Return the texts that a model knows, by column; columns of numbers are not there."""
    if not knows_texts(estimator):
        return {}
    found = {column: _texts_of(estimator, column, n_columns) for column in range(n_columns)}
    found |= frame_categories(estimator)
    return {column: texts for column, texts in found.items() if texts}


def _texts_of(estimator: Estimator, column: int, n_columns: int) -> tuple[str, ...]:
    features = tuple(
        Feature(f"c{i}", "category", categories=(_PROBE,)) if i == column else Feature(f"c{i}")
        for i in range(n_columns)
    )
    follower = _Follower(features, READERS)
    follower.met = []
    response: Any = answer_of(estimator, task_of(estimator))
    # What follows the encoders is refused when the model is read.
    with contextlib.suppress(UnsupportedError):
        follower.read("model", estimator, 0, "decision" if response == "score" else response)
    texts = [category for categories in follower.met for category in categories if isinstance(category, str)]
    return tuple(dict.fromkeys(texts))
