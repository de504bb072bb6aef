"""Takes a fitted scikit-learn estimator apart into its named steps. It converts nothing."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from exporter.errors import UnsupportedError
from exporter.models.model import Estimator

Step: TypeAlias = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class TargetScale:
    """What a regressor's answer must still go through: ``answer * scale + mean``."""

    scale: float
    mean: float


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """An estimator without the scaling of its target, and that scaling."""

    estimator: Estimator
    target: TargetScale | None


def steps_of(estimator: Estimator) -> list[Step]:
    """Return the steps of a pipeline in order, pipelines inside it opened; a bare estimator is one step ``model``."""
    if not isinstance(estimator, Pipeline):
        return [("model", estimator)]
    found: list[Step] = []
    for name, step in estimator.steps:
        if step is None or step == "passthrough":
            continue
        found += [(f"{name}.{n}", s) for n, s in steps_of(step)] if isinstance(step, Pipeline) else [(name, step)]
    return found


def parts_of(estimator: Estimator) -> list[Any]:
    """Return every estimator inside, also those in the branches of column transformers."""
    found: list[Any] = []
    for _, step in steps_of(estimator):
        found.append(step)
        if isinstance(step, ColumnTransformer):
            for _, branch, _ in step.transformers_:
                found += parts_of(branch) if not isinstance(branch, str) else []
    return found


def unwrap_target(estimator: Estimator) -> Unwrapped:
    """Take off a ``TransformedTargetRegressor``, around a pipeline or as its last step.

    Raises:
        UnsupportedError: its transformer is not a StandardScaler.
    """
    if isinstance(estimator, TransformedTargetRegressor):
        return Unwrapped(estimator.regressor_, _scale_of("model", estimator))
    if isinstance(estimator, Pipeline) and isinstance(estimator.steps[-1][1], TransformedTargetRegressor):
        name, last = estimator.steps[-1]
        inner = Pipeline([*estimator.steps[:-1], (name, last.regressor_)])
        return Unwrapped(inner, _scale_of(name, last))
    return Unwrapped(estimator, None)


def _scale_of(step: str, wrapper: Any) -> TargetScale:  # noqa: ANN401 - scikit-learn ships no types
    scaler = wrapper.transformer_
    if not isinstance(scaler, StandardScaler):
        raise UnsupportedError(
            step, f"step `{step}`: a target transformed by {type(scaler).__name__} is not supported; StandardScaler is"
        )
    return TargetScale(_first(scaler.scale_, 1.0), _first(scaler.mean_, 0.0))


def _first(values: NDArray[np.float64] | None, default: float) -> float:
    return default if values is None else float(values[0])
