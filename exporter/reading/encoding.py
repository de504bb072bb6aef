"""Reads encoders of categories: one-hot, ordinal, by the target's mean.

A category is a number as it stands, or a text that is the index of its feature's categories; missing values are NaN.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from exporter.programs.program import Linear, Lookup, OneHot
from exporter.reading.imputing import is_missing
from exporter.reading.reading import Readers, Reading, Texts

# What no row holds: an index of categories is never negative.
_NEVER: Final = -1.0


def keys_of(reading: Reading, encoder: Any, categories: Sequence[Any], texts: Texts) -> list[float]:
    """Return the number by which a row names each category of a column.

    Raises:
        UnsupportedError: a category that no float32 row can hold, so that every row would be taken for unknown.
    """
    reading.meet(texts, categories)
    has_nan = any(isinstance(category, float) and is_missing(category) for category in categories)
    keys = []
    for category in categories:
        if is_missing(category):
            # A row says NaN for both; beside a category NaN, the category None is never met.
            keys.append(float("nan") if isinstance(category, float) or not has_nan else _NEVER)
        elif isinstance(category, str):
            if texts is None:
                raise reading.refuse(encoder, f"of the text {category!r} in a column of numbers")
            keys.append(float(texts.index(category)) if category in texts else _NEVER)
        else:
            number = float(category)
            if float(np.float32(number)) != number:
                raise reading.refuse(encoder, f"of the category {category!r}, which float32 does not hold,")
            keys.append(number)
    return keys


def _one_hot(reading: Reading, encoder: Any, place: int) -> int:
    return reading.join([_one_hot_column(reading, encoder, place, column) for column in _used(encoder)])


def _used(encoder: Any) -> list[int]:
    return [column for column, n_outputs in enumerate(encoder._n_features_outs) if n_outputs > 0]


def _one_hot_column(reading: Reading, encoder: Any, place: int, column: int) -> int:
    one = reading.columns(place, [column])
    keys = keys_of(reading, encoder, encoder.categories_[column], reading.texts(one)[0])
    group_of = _groups(encoder, column, len(keys))
    n_groups = max(group_of) + 1
    groups = [tuple(key for key, group in zip(keys, group_of, strict=True) if group == i) for i in range(n_groups)]
    dropped = _dropped(encoder, column)
    if _takes_unknown_as_infrequent(encoder, column):
        # The last group takes whatever is in no other one.
        known = reading.builder.add(OneHot(one, tuple(groups[:-1]))) if n_groups > 1 else None
        return _with_rest(reading, known, one, dropped)
    return reading.builder.add(OneHot(one, tuple(group for i, group in enumerate(groups) if i != dropped)))


def _with_rest(reading: Reading, known: int | None, one: int, dropped: int | None) -> int:
    """Add ``1 - sum(known)`` behind the known groups, without the dropped column."""
    if known is None:  # all are infrequent
        known = reading.builder.add(OneHot(one, ((_NEVER,),)))
        weights, bias = np.zeros((1, 1)), np.ones(1)
    else:
        width = reading.builder.width(known)
        weights = np.hstack([np.eye(width), -np.ones((width, 1))])
        bias = np.append(np.zeros(width), 1.0)
    if dropped is not None:
        weights, bias = np.delete(weights, dropped, axis=1), np.delete(bias, dropped)
    return reading.builder.add(Linear(known, weights, bias))


def _groups(encoder: Any, column: int, n_categories: int) -> list[int]:
    """Return the group of each category: infrequent ones share the last."""
    if not encoder._infrequent_enabled:
        return list(range(n_categories))
    mapping = encoder._default_to_infrequent_mappings[column]
    if mapping is None:
        return list(range(n_categories))
    # An ordinal encoder leaves out a missing category, which stands last and keeps its place.
    return [*mapping.tolist(), *range(len(mapping), n_categories)]


def _dropped(encoder: Any, column: int) -> int | None:
    chosen = encoder._drop_idx_after_grouping
    return None if chosen is None or chosen[column] is None else int(chosen[column])


def _takes_unknown_as_infrequent(encoder: Any, column: int) -> bool:
    return (
        encoder.handle_unknown in ("infrequent_if_exist", "warn")
        and encoder._infrequent_enabled
        and encoder._infrequent_indices[column] is not None
    )


def _ordinal(reading: Reading, encoder: Any, place: int) -> int:
    default = float("nan")
    if encoder.handle_unknown == "use_encoded_value":
        default = float(encoder.unknown_value)
    parts = []
    for column, categories in enumerate(encoder.categories_):
        one = reading.columns(place, [column])
        keys = keys_of(reading, encoder, categories, reading.texts(one)[0])
        codes = [float(group) for group in _groups(encoder, column, len(keys))]
        missing = encoder._missing_indices.get(column)
        if missing is not None:
            codes[missing] = float(encoder.encoded_missing_value)
        parts.append(reading.builder.add(Lookup(one, tuple(keys), tuple(codes), default)))
    return reading.join(parts)


def _target(reading: Reading, encoder: Any, place: int) -> int:
    means = np.atleast_1d(encoder.target_mean_).astype(np.float64).tolist()
    parts = []
    for i, encodings in enumerate(encoder.encodings_):
        column, label = divmod(i, len(means))
        one = reading.columns(place, [column])
        keys = keys_of(reading, encoder, encoder.categories_[column], reading.texts(one)[0])
        parts.append(reading.builder.add(Lookup(one, tuple(keys), tuple(encodings.tolist()), means[label])))
    return reading.join(parts)


READERS: Final[Readers] = {
    OneHotEncoder: {"transform": _one_hot},
    OrdinalEncoder: {"transform": _ordinal},
    TargetEncoder: {"transform": _target},
}
