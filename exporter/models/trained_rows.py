"""Hands rows to an estimator as it was trained: with texts of categories, or in a data frame.

A row holds a category as its index. Whether an estimator was trained on indices or on texts, its encoders tell: the
categories that they met are numbers or texts. pandas is loaded only for an estimator that was trained on a data frame.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster._kmeans import _BaseKMeans

from edge_agent.bundle import Feature
from exporter.errors import ModelError

# What lies deeper is not looked at: nothing that people build has so many levels.
_MAX_DEPTH: Final = 40


def as_trained(estimator: Any, features: tuple[Feature, ...], rows: NDArray[np.floating[Any]]) -> Any:
    """Return rows ``(n, n_features) float32`` as the estimator takes them.

    Raises:
        ModelError: it wants a data frame, and there is no pandas.
    """
    if _compares_in_float64(estimator):
        rows = rows.astype(np.float64)
    categories = {i: feature.categories for i, feature in enumerate(features) if feature.dtype == "category"}
    texts = knows_texts(estimator) if categories else False
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return _texts_of(estimator, categories, rows) if texts else rows
    try:
        import pandas as pd  # noqa: PLC0415 - only for those who trained on a frame
    except ImportError as error:
        kind = type(estimator).__name__
        raise ModelError(f"{kind} was trained on a data frame, and is asked with one: install pandas") from error

    columns: dict[str, Any] = {}
    for i, name in enumerate(names):
        if texts and i in categories:
            column = _texts_of(estimator, {0: categories[i]}, rows[:, [i]])[:, 0]
            keeps_none = any(value is None for value in column)
            columns[name] = pd.Series(column, dtype=object) if keeps_none else pd.Categorical(column, categories[i])
        else:
            columns[name] = rows[:, i]
    return pd.DataFrame(columns, columns=list(names))


def _compares_in_float64(estimator: Any) -> bool:
    """Tell whether a k-means inside has centres in float64: scikit-learn compares them with nothing else."""
    parts = [part for part in _parts_of(estimator, 0, set()) if isinstance(part, _BaseKMeans)]
    return any(part.cluster_centers_.dtype == np.float64 for part in parts if hasattr(part, "cluster_centers_"))


def knows_texts(estimator: Any) -> bool:
    """Tell whether an encoder inside an estimator met texts."""
    return any(isinstance(value, str) for value in known_categories(estimator))


def known_categories(estimator: Any) -> Iterator[Any]:
    """Yield every category that an encoder inside an estimator met, whatever its type."""
    for part in _parts_of(estimator, 0, set()):
        for column in getattr(part, "categories_", None) or ():
            yield from np.asarray(column, dtype=object).tolist()
        for column in getattr(part, "pandas_categorical", None) or ():
            yield from column


def frame_categories(estimator: Any) -> dict[int, tuple[str, ...]]:
    """Return the texts of a data frame's category columns, by column, as LightGBM keeps them beside its trees."""
    found: dict[int, tuple[str, ...]] = {}
    for part in _parts_of(estimator, 0, set()):
        kept = getattr(part, "pandas_categorical", None) or ()
        if kept and hasattr(part, "dump_model"):
            columns = _category_columns_of(part.dump_model(num_iteration=1))
            texts = [tuple(text for text in column if isinstance(text, str)) for column in kept]
            found |= dict(zip(columns, texts, strict=False)) if len(columns) == len(texts) else {}
    return found


def _category_columns_of(dump: Mapping[str, Any]) -> list[int]:
    """Return the columns whose values LightGBM lists instead of bounding them."""
    infos = dump.get("feature_infos", {})
    return [i for i, name in enumerate(dump["feature_names"]) if infos.get(name, {}).get("values")]


def _texts_of(estimator: Any, categories: Mapping[int, tuple[str, ...]], rows: NDArray[Any]) -> NDArray[Any]:
    found = rows.astype(object)
    gap = gap_of(estimator)
    for i, names in categories.items():
        # An index of no category is a text that no encoder has met.
        texts = np.array([*names, "\0unseen", gap], dtype=object)
        column = rows[:, i]
        known = (column >= 0) & (column < len(names)) & (column == np.floor(column))
        places = np.where(np.isnan(column), len(names) + 1, len(names))
        places[known] = column[known].astype(np.int64)
        found[:, i] = texts[places]
    return found


def gap_of(estimator: Any) -> float | None:
    """Return what stands for a missing text: what the encoders met, else what an imputer seeks."""
    known = list(known_categories(estimator))
    if any(isinstance(value, float) and np.isnan(value) for value in known):
        return np.nan
    is_sought = any(getattr(part, "missing_values", np.nan) is None for part in _parts_of(estimator, 0, set()))
    return None if is_sought or any(value is None for value in known) else np.nan


def _parts_of(value: Any, depth: int, seen: set[int]) -> Iterator[Any]:
    """Yield every estimator inside a value, itself too."""
    if depth > _MAX_DEPTH or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _parts_of(inner, depth + 1, seen)
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for inner in value:
            yield from _parts_of(inner, depth + 1, seen)
    elif hasattr(value, "get_params") or type(value).__name__ in {"Booster", "_CalibratedClassifier"}:
        if isinstance(value, type):
            return
        yield value
        for inner in vars(value).values():
            yield from _parts_of(inner, depth + 1, seen)
