"""Early stopping: after how many rounds or epochs a model was best on rows that come after those it was fitted on.

The estimators' own early stopping draws its rows by chance: neighbours in time resemble each other, and the two halves
of one entity even more. Here the caller says which rows judge; what is found is a number, for a fit on all rows.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.neural_network import MLPClassifier, MLPRegressor

# Rounds without a gain before it is called enough; small data are noisy.
_PATIENCE: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows ``(n, n_inputs)`` as the model itself sees them, their targets ``(n,)`` and weights ``(n,)``, if any."""

    rows: NDArray[np.float32]
    target: NDArray[Any]
    weights: NDArray[np.float64] | None


def has_rounds(model: Any) -> bool:  # noqa: ANN401 - scikit-learn ships no types
    """Tell whether a model is fitted in rounds that can be counted here."""
    return type(model).__name__ in _COUNTERS


def with_rounds(model: Any, fitted: Part, judging: Part) -> Any:  # noqa: ANN401
    """Return the model, not fitted, with as many rounds as were best on the judging rows.

    Args:
        model: not fitted; it is not changed.
        fitted: rows to fit on.
        judging: rows to judge by, every label of which occurs among those to fit on.
    """
    counter = _COUNTERS[type(model).__name__]
    name, n_rounds = counter(deepcopy(model), fitted, judging)
    return deepcopy(model).set_params(**{name: n_rounds})


def _histogram(model: Any, fitted: Part, judging: Part) -> tuple[str, int]:  # noqa: ANN401
    model.set_params(early_stopping=True, n_iter_no_change=_PATIENCE)
    model.fit(
        fitted.rows,
        fitted.target,
        sample_weight=fitted.weights,
        X_val=judging.rows,
        y_val=judging.target,
        sample_weight_val=judging.weights,
    )
    # The first score is that of no round at all.
    return "max_iter", max(int(np.argmax(model.validation_score_)), 1)


def _network(model: Any, fitted: Part, judging: Part) -> tuple[str, int]:  # noqa: ANN401
    first = {"classes": np.unique(fitted.target)} if is_classifier(model) else {}
    best, best_loss = 1, np.inf
    for epoch in range(1, model.max_iter + 1):
        model.partial_fit(fitted.rows, fitted.target, sample_weight=fitted.weights, **(first if epoch == 1 else {}))
        loss = _loss(model, judging)
        if loss < best_loss:
            best, best_loss = epoch, loss
        elif epoch - best >= _PATIENCE:
            break
    return "max_iter", best


def _loss(model: Any, judging: Part) -> float:  # noqa: ANN401
    if is_classifier(model):
        probabilities = model.predict_proba(judging.rows)
        return float(log_loss(judging.target, probabilities, sample_weight=judging.weights, labels=model.classes_))
    return float(mean_squared_error(judging.target, model.predict(judging.rows), sample_weight=judging.weights))


def _light(model: Any, fitted: Part, judging: Part) -> tuple[str, int]:  # noqa: ANN401
    from lightgbm import early_stopping  # noqa: PLC0415 - a project without it must not need it

    model.fit(
        fitted.rows,
        fitted.target,
        sample_weight=fitted.weights,
        eval_X=judging.rows,
        eval_y=judging.target,
        eval_sample_weight=None if judging.weights is None else [judging.weights],
        callbacks=[early_stopping(_PATIENCE, verbose=False)],
    )
    return "n_estimators", max(int(model.best_iteration_), 1)


def _extreme(model: Any, fitted: Part, judging: Part) -> tuple[str, int]:  # noqa: ANN401
    model.set_params(early_stopping_rounds=_PATIENCE)
    model.fit(
        fitted.rows,
        fitted.target,
        sample_weight=fitted.weights,
        eval_set=[(judging.rows, judging.target)],
        sample_weight_eval_set=None if judging.weights is None else [judging.weights],
        verbose=False,
    )
    return "n_estimators", int(model.best_iteration) + 1


_COUNTERS: Final[Mapping[str, Callable[[Any, Part, Part], tuple[str, int]]]] = {
    HistGradientBoostingClassifier.__name__: _histogram,
    HistGradientBoostingRegressor.__name__: _histogram,
    MLPClassifier.__name__: _network,
    MLPRegressor.__name__: _network,
    "LGBMClassifier": _light,
    "LGBMRegressor": _light,
    "XGBClassifier": _extreme,
    "XGBRegressor": _extreme,
}
