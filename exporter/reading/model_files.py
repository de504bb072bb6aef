"""What model files of gradient boosting libraries have in common: how they are read, and what they answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ModelError
from exporter.models.answers import Outputs
from exporter.models.model import Rows

MAX_BYTES: Final = 512 << 20


class BoostedModel(Protocol):
    """What a file says, of whatever library."""

    @property
    def n_features(self) -> int:
        """Columns of its rows."""

    @property
    def n_outputs(self) -> int:
        """Scores of a row; two classes have one."""


ModelT = TypeVar("ModelT", bound=BoostedModel)


class ModelFile(Generic[ModelT]):
    """A model file as an estimator.

    Attributes:
        model: what the file says.
        classes_: indices of the classes; None for regression.
        n_features_in_: columns of its rows.
    """

    def __init__(self, model: ModelT, score: Callable[[Rows], Any], *, is_classifier: bool) -> None:
        """Take what the file says, and what scores rows: ``(n,)`` or ``(n, n_outputs)``."""
        self.model = model
        self._score = score
        self.classes_ = np.arange(max(model.n_outputs, 2)) if is_classifier else None
        self.n_features_in_ = model.n_features

    def predict_proba(self, X: Rows) -> Outputs:
        """Return the probability of each class, ``(n, n_classes)``."""
        scores = np.asarray(self._score(X), dtype=np.float64)
        return np.stack([1.0 - scores, scores], axis=1) if scores.ndim == 1 else scores

    def predict(self, X: Rows) -> NDArray[Any]:
        """Return the most probable class of each row, or its value."""
        if self.classes_ is None:
            return np.asarray(self._score(X), dtype=np.float64)
        return np.asarray(np.argmax(self.predict_proba(X), axis=1))


def read_bytes(path: Path) -> bytes:
    """Return the content of a model file.

    Raises:
        ModelError: it cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: larger than the {MAX_BYTES} bytes that are read")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
