"""What readers share: the program under way, and the way to the reader of an estimator inside another."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from edge_agent.bundle import Feature
from exporter.errors import UnsupportedError
from exporter.programs.program import ArgMax, Columns, Join, Linear, ProgramBuilder

# What is asked of an estimator, in scikit-learn's words: transform; predict_proba, one probability a class;
# decision_function, one number (two classes, anomaly) or one a class; predict of a regressor; the label or the
# cluster that predict names, one-hot; the shares of a hard vote.
Response: TypeAlias = Literal["transform", "probabilities", "decision", "value", "label", "cluster", "answer"]
# (reading, fitted estimator, place of its input) to the place of its answer.
Reader: TypeAlias = Callable[["Reading", Any, int], int]
# By class, or by its full name where the library may not be installed.
Readers: TypeAlias = Mapping[type[Any] | str, Mapping[Response, Reader]]
# The texts that the numbers 0, 1, … of a column stand for; None: its numbers are numbers.
Texts: TypeAlias = tuple[str, ...] | None

METHODS: Final[Mapping[Response, str]] = {
    "transform": "transform",
    "probabilities": "predict_proba",
    "decision": "decision_function",
    "value": "predict",
    "label": "predict",
    "cluster": "predict",
    "answer": "predict",
}


class Reading:
    """A program under way.

    Attributes:
        builder: what readers add operations to.
        gap: what the estimator is handed for a missing text: NaN or None, which only some steps take for missing.
        features: the model's inputs; category features come as indices into their `categories`.
    """

    def __init__(self, features: tuple[Feature, ...], readers: Readers, gap: float | None = np.nan) -> None:
        self.builder = ProgramBuilder(len(features))
        self.gap = gap
        self.features = features
        self._readers = readers
        self._path: list[str] = []
        self._texts: dict[int, tuple[Texts, ...]] = {
            0: tuple(feature.categories if feature.dtype == "category" else None for feature in features)
        }

    def read(self, name: str, estimator: Any, place: int, response: Response) -> int:
        """Let the reader of an estimator add what it computes of the vector at ``place``; return its answer's place.

        Args:
            name: of the step, within the step that is being read now.
            estimator: fitted.
            place: of its input.
            response: what is asked of it.

        Raises:
            UnsupportedError: nobody reads this class, or not this response of it.
        """
        kind = type(estimator).__name__
        self._path.append(name)
        try:
            known = self._readers_of(estimator)
            reader = known.get(response)
            if reader is None and response == "label":
                reader = self._label_reader(estimator)
            if reader is None:
                what = f"{METHODS[response]} of {kind}" if known else kind
                raise UnsupportedError(self._step, f"step `{self._step}`: {what} has no form that devices run")
            n_expected = getattr(estimator, "n_features_in_", None)
            if n_expected is not None:
                self.verify_width(estimator, n_expected, place)
            with self.builder.step(self._step, kind):
                return reader(self, estimator, place)
        finally:
            self._path.pop()

    def verify_width(self, estimator: Any, n_expected: int, place: int) -> None:
        """Raise UnsupportedError when an estimator was fitted on other columns than the vector at ``place`` has."""
        n_columns = self.builder.width(place)
        if n_expected != n_columns:
            raise self.refuse(estimator, f"of {n_expected} columns, given {n_columns},")

    def reads(self, estimator: Any, response: Response) -> bool:
        """Tell whether the class of an estimator has a reader of this response."""
        return response in self._readers_of(estimator)

    def meet(self, texts: Texts, categories: Sequence[object]) -> None:
        """Take note that an encoder knows categories of a column of texts; a program needs no such note."""

    def label_by_score(self, place: int) -> int:
        """Add the label of the greatest score, one-hot, the first of equals; one score above 0: the second label."""
        if self.builder.width(place) == 1:
            place = self.builder.add(Linear(place, np.array([[-1.0, 1.0]]), np.zeros(2)))
        return self.builder.add(ArgMax(place))

    def _label_reader(self, estimator: Any) -> Reader | None:
        """Return how a classifier without a rule of its own names a label: by its decision, else by probabilities."""
        by_score = self._readers_of(estimator)
        reader = by_score.get("decision") or by_score.get("probabilities")
        if reader is None:
            return None
        return lambda reading, inner, place: reading.label_by_score(reader(reading, inner, place))

    def _readers_of(self, estimator: Any) -> Mapping[Response, Reader]:
        kind = type(estimator)
        return self._readers.get(kind) or self._readers.get(f"{kind.__module__}.{kind.__qualname__}", {})

    def refuse(self, estimator: Any, why: str) -> UnsupportedError:
        """Return the error that names the step under way and why it cannot be read."""
        return UnsupportedError(self._step, f"step `{self._step}`: {type(estimator).__name__} {why} is not supported")

    def columns(self, place: int, columns: Sequence[int]) -> int:
        """Add the columns of a vector, which keep their texts; all of them in their order are the vector itself."""
        chosen = tuple(int(column) for column in columns)
        if chosen == tuple(range(self.builder.width(place))):
            return place
        texts = self.texts(place)
        return self.with_texts(self.builder.add(Columns(place, chosen)), [texts[column] for column in chosen])

    def join(self, places: Sequence[int]) -> int:
        """Add vectors one behind the other, whose columns keep their texts; one vector is itself."""
        if len(places) == 1:
            return places[0]
        texts = [text for place in places for text in self.texts(place)]
        return self.with_texts(self.builder.add(Join(tuple(places))), texts)

    def texts(self, place: int) -> tuple[Texts, ...]:
        """Return what the numbers of each column of a vector stand for."""
        return self._texts.get(place, (None,) * self.builder.width(place))

    def with_texts(self, place: int, texts: Sequence[Texts]) -> int:
        """Say what the numbers of each column of a vector stand for; return its place."""
        if any(text is not None for text in texts):
            self._texts[place] = tuple(texts)
        return place

    @property
    def _step(self) -> str:
        """Name of the step under way: the outermost has one only when it is the whole model."""
        return ".".join(self._path[1:]) or (self._path[0] if self._path else "model")
