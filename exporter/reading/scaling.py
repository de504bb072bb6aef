"""Reads transformers that look at each number by itself: scalers, powers, functions, thresholds; and norms of rows."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from exporter.programs.program import Affine, Average, Bins, Clip, Curve, Normalise, OneHot, Scale
from exporter.reading.functions import add_function, name_of
from exporter.reading.reading import Readers, Reading

Floats = NDArray[np.float64]

# Below this a power of 0 is taken for a logarithm (scikit-learn's PowerTransformer does the same).
_NO_POWER: Final = float(np.spacing(1.0))


def add_scale(reading: Reading, place: int, means: Floats | None, scales: Floats | None) -> int:
    """Add ``(x - means) / scales``, where None stands for 0 and 1; nothing when both are None."""
    width = reading.builder.width(place)
    if means is None and scales is None:
        return place
    return reading.builder.add(
        Scale(
            place,
            np.zeros(width) if means is None else np.asarray(means, dtype=np.float64),
            np.ones(width) if scales is None else np.asarray(scales, dtype=np.float64),
        )
    )


def _standard(reading: Reading, scaler: Any, place: int) -> int:
    # It rounds both to the type of the rows first, which is float32.
    means = _rounded(scaler.mean_) if scaler.with_mean else None
    scales = _rounded(scaler.scale_) if scaler.with_std else None
    return add_scale(reading, place, means, scales)


def _rounded(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def _robust(reading: Reading, scaler: Any, place: int) -> int:
    means = scaler.center_ if scaler.with_centering else None
    return add_scale(reading, place, means, scaler.scale_ if scaler.with_scaling else None)


def _min_max(reading: Reading, scaler: Any, place: int) -> int:
    place = reading.builder.add(Affine(place, np.asarray(scaler.scale_), np.asarray(scaler.min_)))
    return _clipped(reading, place, *scaler.feature_range) if scaler.clip else place


def _max_abs(reading: Reading, scaler: Any, place: int) -> int:
    place = add_scale(reading, place, None, scaler.scale_)
    return _clipped(reading, place, -1.0, 1.0) if getattr(scaler, "clip", False) else place


def _clipped(reading: Reading, place: int, low: float, high: float) -> int:
    width = reading.builder.width(place)
    return reading.builder.add(Clip(place, np.full(width, float(low)), np.full(width, float(high))))


def _normalizer(reading: Reading, normalizer: Any, place: int) -> int:
    return reading.builder.add(Normalise(place, normalizer.norm))


def _binarizer(reading: Reading, binarizer: Any, place: int) -> int:
    # x > threshold, compared in float32, is x >= the next number.
    edge = float(np.nextafter(np.float32(binarizer.threshold), np.float32(np.inf)))
    return reading.builder.add(Bins(place, ((edge,),) * reading.builder.width(place)))


def _discretizer(reading: Reading, discretizer: Any, place: int) -> int:
    edges = tuple(tuple(_float32_from(edge) for edge in column[1:-1]) for column in discretizer.bin_edges_)
    place = reading.builder.add(Bins(place, edges))
    if discretizer.encode == "ordinal":
        return place
    parts = [
        reading.builder.add(OneHot(reading.columns(place, [column]), tuple((float(bin_),) for bin_ in range(n_bins))))
        for column, n_bins in enumerate(discretizer.n_bins_.tolist())
    ]
    return reading.join(parts)


def _float32_from(edge: float) -> float:
    """Return the least float32 number that is not below an edge: no number in float32 lies between the two."""
    nearest = np.float32(edge)
    return float(nearest if float(nearest) >= edge else np.nextafter(nearest, np.float32(np.inf)))


def _function(reading: Reading, transformer: Any, place: int) -> int:
    if transformer.func is None:
        return place
    name = name_of(transformer.func)
    if name is None or transformer.kw_args:
        what = getattr(transformer.func, "__name__", type(transformer.func).__name__)
        raise reading.refuse(transformer, f"with the function {what!r}{' and arguments' * bool(transformer.kw_args)}")
    return add_function(reading, place, name)


def _power(reading: Reading, transformer: Any, place: int) -> int:
    powers = np.asarray(transformer.lambdas_, dtype=np.float64)
    if np.isnan(powers).any():
        raise reading.refuse(transformer, "with a column that had no values in training")
    if transformer.method == "box-cox":
        place = _powers(reading, reading.builder.add(Curve(place, "log")), powers)
    else:
        place = _yeo_johnson(reading, place, powers)
    if not transformer.standardize:
        return place
    scaler = transformer._scaler
    return add_scale(reading, place, scaler.mean_, scaler.scale_)


def _yeo_johnson(reading: Reading, place: int, powers: Floats) -> int:
    """Add the transformation as the sum of its two halves, each of which is 0 where the other is not.

    Yeo and Johnson, A new family of power transformations to improve normality or symmetry, Biometrika 87 (2000).
    """
    width = reading.builder.width(place)
    ones, zeros = np.ones(width), np.zeros(width)
    upper = reading.builder.add(Curve(place, "relu"))
    lower = reading.builder.add(Curve(reading.builder.add(Affine(place, -ones, zeros)), "relu"))
    halves = [
        _powers(reading, reading.builder.add(Curve(half, "log1p")), exponents)
        for half, exponents in ((upper, powers), (lower, 2 - powers))
    ]
    return reading.builder.add(Average(tuple(halves), (1.0, -1.0)))


def _powers(reading: Reading, logarithms: int, powers: Floats) -> int:
    """Add ``(x ** power - 1) / power`` of the logarithms of ``x``, column by column; for a power of 0 they stay."""
    is_none = np.abs(powers) < _NO_POWER
    some = np.where(is_none, 1.0, powers)
    zeros = np.zeros(len(powers))
    less = reading.builder.add(Curve(reading.builder.add(Affine(logarithms, some, zeros)), "expm1"))
    raised = reading.builder.add(Scale(less, zeros, some))
    if not is_none.any():
        return raised
    joined = reading.join([raised, logarithms])
    return reading.columns(joined, (np.arange(len(powers)) + len(powers) * is_none).tolist())


READERS: Final[Readers] = {
    kind: {"transform": reader}
    for kind, reader in {
        StandardScaler: _standard,
        RobustScaler: _robust,
        MinMaxScaler: _min_max,
        MaxAbsScaler: _max_abs,
        Normalizer: _normalizer,
        Binarizer: _binarizer,
        KBinsDiscretizer: _discretizer,
        FunctionTransformer: _function,
        PowerTransformer: _power,
    }.items()
}
