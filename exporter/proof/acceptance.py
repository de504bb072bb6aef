"""Tells which rows a device hands to a model at all, by the rules of its features (`edge_agent.scoring.schema`)."""

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from exporter.models.model import Rows


def is_taken(rows: Rows, features: tuple[Feature, ...]) -> NDArray[np.bool_]:
    """Tell for each row, ``(n, n_features)``, whether a device scores it."""
    # No device hands infinity on, whatever its rules.
    taken: NDArray[np.bool_] = np.asarray(~np.isinf(rows).any(axis=1))
    # In float64, as devices compare: 0.1 in float32 is more than a limit of 0.1.
    for column, feature in zip(rows.T.astype(np.float64), features, strict=True):
        is_missing = np.isnan(column)
        if feature.dtype == "category":
            is_known = (column >= 0) & (column < len(feature.categories)) & (column == np.floor(column))
            taken &= is_known | is_missing
        elif feature.on_out_of_range == "refuse":
            low = -np.inf if feature.valid_min is None else feature.valid_min
            high = np.inf if feature.valid_max is None else feature.valid_max
            taken &= ((column >= low) & (column <= high)) | is_missing
        if feature.on_missing == "refuse":
            taken &= ~is_missing
    return taken


def categories_of(features: tuple[Feature, ...]) -> list[int]:
    """Return the columns of the features that are categories."""
    return [i for i, feature in enumerate(features) if feature.dtype == "category"]


def flagged_of(features: tuple[Feature, ...]) -> list[int]:
    """Return the columns of the features whose value may be missing."""
    return [i for i, feature in enumerate(features) if feature.on_missing == "flag"]
