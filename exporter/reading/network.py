"""Reads multi-layer perceptrons."""

from typing import Any, Final

from sklearn.neural_network import MLPClassifier, MLPRegressor

from exporter.programs.program import Complement, Curve, Softmax
from exporter.reading.linear import add_linear
from exporter.reading.reading import Readers, Reading


def _last_layer(reading: Reading, network: Any, place: int) -> int:
    """Add all layers; what the last one computes stands before its own function."""
    last = len(network.coefs_) - 1
    for i, (weights, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        place = add_linear(reading, place, weights.T, bias)
        if i < last and network.activation != "identity":
            place = reading.builder.add(Curve(place, network.activation))
    return place


def _probabilities(reading: Reading, network: Any, place: int) -> int:
    if network.out_activation_ == "logistic" and network.n_outputs_ != 1:
        raise reading.refuse(network, f"of {network.n_outputs_} labels at once")
    last = _last_layer(reading, network, place)
    if network.out_activation_ == "softmax":
        return reading.builder.add(Softmax(last))
    return reading.builder.add(Complement(reading.builder.add(Curve(last, "logistic"))))


def _value(reading: Reading, network: Any, place: int) -> int:
    if network.n_outputs_ != 1:
        raise reading.refuse(network, f"of {network.n_outputs_} outputs")
    last = _last_layer(reading, network, place)
    return reading.builder.add(Curve(last, "exp")) if network.out_activation_ == "exp" else last


READERS: Final[Readers] = {
    MLPClassifier: {"probabilities": _probabilities},
    MLPRegressor: {"value": _value},
}
