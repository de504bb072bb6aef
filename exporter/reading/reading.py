"""What readers share: the program under way, and the way to the reader of an estimator inside another."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

from edge_agent.bundle import Feature
from exporter.errors import UnsupportedError
from exporter.program import ProgramBuilder

# What is asked of an estimator, in scikit-learn's words: transform; predict_proba, one probability a class;
# decision_function, one number (two classes, anomaly) or one a class; predict of a regressor; the cluster, one-hot.
Response: TypeAlias = Literal["transform", "probabilities", "decision", "value", "cluster"]
# (reading, fitted estimator, place of its input) to the place of its answer.
Reader: TypeAlias = Callable[["Reading", Any, int], int]
Readers: TypeAlias = Mapping[type[Any], Mapping[Response, Reader]]

_METHODS: Final[Mapping[Response, str]] = {
    "transform": "transform",
    "probabilities": "predict_proba",
    "decision": "decision_function",
    "value": "predict",
    "cluster": "predict",
}


class Reading:
    """A program under way.

    Attributes:
        builder: what readers add operations to.
        features: the model's inputs; category features come as indices into their `categories`.
    """

    def __init__(self, features: tuple[Feature, ...], readers: Readers) -> None:
        self.builder = ProgramBuilder(len(features))
        self.features = features
        self._readers = readers
        self._path: list[str] = []

    def read(self, name: str, estimator: Any, place: int, response: Response) -> int:  # noqa: ANN401 - scikit-learn ships no types
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
        step = ".".join(self._path)
        try:
            reader = self._readers.get(type(estimator), {}).get(response)
            if reader is None:
                known = type(estimator) in self._readers
                what = f"{_METHODS[response]} of {kind}" if known else kind
                raise UnsupportedError(step, f"step `{step}`: {what} has no form that devices run")
            with self.builder.step(step, kind):
                return reader(self, estimator, place)
        finally:
            self._path.pop()

    def refuse(self, estimator: Any, why: str) -> UnsupportedError:  # noqa: ANN401 - as above
        """Return the error that names the step under way and why it cannot be read."""
        step = ".".join(self._path) or "model"
        return UnsupportedError(step, f"step `{step}`: {type(estimator).__name__} {why} is not supported")
