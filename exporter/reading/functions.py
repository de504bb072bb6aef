"""The functions of numpy and scipy that a program can express, by identity: nothing that a file names is called."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from scipy.special import expit

from exporter.programs.program import Affine, Curve, CurveName
from exporter.reading.reading import Reading

# Each a chain of curves and of (factor, offset).
_Chain = tuple[CurveName | tuple[float, float], ...]
_CHAINS: Final[Mapping[str, _Chain]] = {
    "log": ("log",),
    "log1p": ("log1p",),
    "log2": ("log", (1.0 / float(np.log(2.0)), 0.0)),
    "log10": ("log", (1.0 / float(np.log(10.0)), 0.0)),
    "exp": ("exp",),
    "expm1": ("expm1",),
    "exp2": ((float(np.log(2.0)), 0.0), "exp"),
    "sqrt": ("sqrt",),
    "square": ("square",),
    "abs": ("abs",),
    "reciprocal": ("reciprocal",),
    "negative": ((-1.0, 0.0),),
    "positive": (),
    "tanh": ("tanh",),
    "expit": ("logistic",),
    "deg2rad": ((float(np.pi / 180.0), 0.0),),
    "rad2deg": ((float(180.0 / np.pi), 0.0),),
}
_KNOWN: Final[tuple[tuple[Callable[..., Any], str], ...]] = (
    (np.log, "log"),
    (np.log1p, "log1p"),
    (np.log2, "log2"),
    (np.log10, "log10"),
    (np.exp, "exp"),
    (np.expm1, "expm1"),
    (np.exp2, "exp2"),
    (np.sqrt, "sqrt"),
    (np.square, "square"),
    (np.absolute, "abs"),
    (np.fabs, "abs"),
    (abs, "abs"),
    (np.reciprocal, "reciprocal"),
    (np.negative, "negative"),
    (np.positive, "positive"),
    (np.tanh, "tanh"),
    (expit, "expit"),
    (np.deg2rad, "deg2rad"),
    (np.radians, "deg2rad"),
    (np.rad2deg, "rad2deg"),
    (np.degrees, "rad2deg"),
)


def name_of(function: Any) -> str | None:
    """Return the name of a function that can be added, or None."""
    return next((name for known, name in _KNOWN if known is function), None)


def add_function(reading: Reading, place: int, name: str) -> int:
    """Add a function of each number, by its name in this module; return its place."""
    width = reading.builder.width(place)
    for link in _CHAINS[name]:
        if isinstance(link, str):
            place = reading.builder.add(Curve(place, link))
        else:
            factor, offset = link
            place = reading.builder.add(Affine(place, np.full(width, factor), np.full(width, offset)))
    return place
