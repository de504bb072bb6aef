"""A dense network as a value: what multi-layer perceptrons, logistic and linear regressions have in common.

The targets that write a network themselves (``onnx-int8``, ``tflite-*``) start from here: impute, standardise, then
layers, then softmax or nothing. What does not fit this form is refused by the name of its step.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeCV,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from exporter.errors import UnsupportedError
from exporter.model import FittedModel, Rows
from exporter.steps import TargetScale, steps_of, unwrap_target

Activation = Literal["identity", "relu", "tanh", "logistic"]
Floats = NDArray[np.float64]

_LINEAR: Final = (LinearRegression, Ridge, RidgeCV, Lasso, ElasticNet, HuberRegressor)
_LOGISTIC: Final = (LogisticRegression, LogisticRegressionCV)
_BINARY: Final = 2


@dataclass(frozen=True, slots=True)
class Layer:
    """``activation(x @ weights + bias)``; weights ``(n_in, n_out)``, bias ``(n_out,)``."""

    weights: Floats
    bias: Floats
    activation: Activation


@dataclass(frozen=True, slots=True)
class DenseNetwork:
    """A network whose last layer feeds softmax (classification) or is the answer.

    Attributes:
        fill: ``(n_features,)``: what stands for a missing value; None: missing values are not handled.
        means, scales: ``(n_features,)``: ``(x - means) / scales`` enters the first layer; None: x itself does.
    """

    fill: Floats | None
    means: Floats | None
    scales: Floats | None
    layers: tuple[Layer, ...]
    has_softmax: bool

    def standardise(self, rows: Rows) -> Rows:
        """Return what enters the first layer, in float32 as the variants compute it."""
        values: Rows = rows.astype(np.float32)
        if self.fill is not None:
            values = np.where(np.isnan(values), self.fill, values).astype(np.float32)
        if self.means is not None and self.scales is not None:
            centred: Rows = values - self.means.astype(np.float32)
            values = np.divide(centred, self.scales.astype(np.float32), dtype=np.float32)
        return values

    def trace(self, rows: Rows) -> tuple[Rows, tuple[Rows, ...]]:
        """Return what enters the first layer, and what each layer computes before its activation, all float32."""
        current = first = self.standardise(rows)
        traced = []
        for layer in self.layers:
            linear: Rows = current @ layer.weights.astype(np.float32) + layer.bias.astype(np.float32)
            traced.append(linear)
            current = activate(linear, layer.activation)
        return first, tuple(traced)


def activate(values: Rows, activation: Activation) -> Rows:
    """Apply an activation in float32."""
    if activation == "relu":
        return np.maximum(values, np.float32(0))
    if activation == "tanh":
        return np.tanh(values)
    if activation == "logistic":
        return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))), dtype=np.float32)
    return values


def dense_network_of(model: FittedModel, variant: str) -> DenseNetwork:
    """Express a model as a dense network.

    Raises:
        UnsupportedError: a step that this form does not have, named.
    """
    unwrapped = unwrap_target(model.estimator)
    *before, (name, last) = steps_of(unwrapped.estimator)
    layers = _layers_of(name, last, variant)
    if unwrapped.target is not None:
        layers = (*layers[:-1], _rescaled(layers[-1], unwrapped.target))
    network = DenseNetwork(None, None, None, layers, has_softmax=model.task == "classification")
    n_features = len(model.features)
    for step_name, step in before:
        network = _with_step(network, step_name, step, variant, n_features)
    return network


def _with_step(network: DenseNetwork, name: str, step: Any, variant: str, n_features: int) -> DenseNetwork:  # noqa: ANN401 - scikit-learn ships no types
    if isinstance(step, SimpleImputer) and network.fill is None and network.means is None:
        return replace(network, fill=_fill_of(name, step, variant, n_features))
    if network.means is None:
        scaling = _scaling_of(step, n_features)
        if scaling is not None:
            return replace(network, means=scaling[0], scales=scaling[1])
    raise _refuse(name, step, variant)


def _fill_of(name: str, imputer: Any, variant: str, n_features: int) -> Floats:  # noqa: ANN401 - as above
    fill = np.asarray(imputer.statistics_, dtype=np.float64)
    is_plain = not imputer.add_indicator and isinstance(imputer.missing_values, float)
    if not is_plain or fill.shape != (n_features,) or np.isnan(fill).any():
        detail = "with an indicator, another mark for missing values, or a feature that was never there"
        raise UnsupportedError(
            name, f"step `{name}`: SimpleImputer {detail} is not supported for {variant}; onnx-fp32 is"
        )
    return fill


def _scaling_of(step: Any, n_features: int) -> tuple[Floats, Floats] | None:  # noqa: ANN401 - as above
    """Return (means, scales) of a scaler, or None when the step is none."""
    means, scales = np.zeros(n_features), np.ones(n_features)
    if isinstance(step, StandardScaler):
        return (step.mean_ if step.with_mean else means), (step.scale_ if step.with_std else scales)
    if isinstance(step, RobustScaler):
        return (step.center_ if step.with_centering else means), (step.scale_ if step.with_scaling else scales)
    if isinstance(step, MinMaxScaler) and not step.clip:
        return -step.min_ / step.scale_, 1 / step.scale_
    if isinstance(step, MaxAbsScaler):
        return means, step.scale_
    return None


def _layers_of(name: str, last: Any, variant: str) -> tuple[Layer, ...]:  # noqa: ANN401 - as above
    if isinstance(last, MLPClassifier | MLPRegressor):
        activations = [last.activation] * (len(last.coefs_) - 1) + ["identity"]
        layers = tuple(Layer(*parts) for parts in zip(last.coefs_, last.intercepts_, activations, strict=True))
        if layers[-1].weights.shape[1] == 1 and isinstance(last, MLPClassifier):
            return (*layers[:-1], _as_pair(layers[-1]))
        return layers
    if type(last) in _LOGISTIC:
        weights = np.asarray(last.coef_, dtype=np.float64).T
        layer = Layer(weights, np.broadcast_to(last.intercept_, (weights.shape[1],)), "identity")
        return (_as_pair(layer) if len(last.classes_) == _BINARY else layer,)
    if type(last) in _LINEAR:
        weights = np.asarray(last.coef_, dtype=np.float64).reshape(-1, 1)
        return (Layer(weights, np.asarray(last.intercept_, dtype=np.float64).reshape(1), "identity"),)
    raise _refuse(name, last, variant)


def _as_pair(layer: Layer) -> Layer:
    """Turn one logit z into two, -z/2 and z/2: their softmax is (1 - sigmoid(z), sigmoid(z)), and each has weights."""
    return Layer(
        np.hstack([-layer.weights, layer.weights]) / 2, np.hstack([-layer.bias, layer.bias]) / 2, layer.activation
    )


def _rescaled(layer: Layer, target: TargetScale) -> Layer:
    return Layer(layer.weights * target.scale, layer.bias * target.scale + target.mean, layer.activation)


def _refuse(name: str, step: Any, variant: str) -> UnsupportedError:  # noqa: ANN401 - as above
    kind = type(step).__name__
    why = ": a tree ensemble has nothing to quantise" if _is_trees(step) and variant == "onnx-int8" else ""
    return UnsupportedError(name, f"step `{name}`: {kind} is not supported for {variant}{why}; onnx-fp32 is")


def _is_trees(step: Any) -> bool:  # noqa: ANN401 - as above
    return any(word in type(step).__name__ for word in ("Forest", "Trees", "Tree", "GradientBoosting"))
