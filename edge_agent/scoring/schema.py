"""Encodes a raw row as the manifest says, and refuses by rule what the model must not see.

One pass over the row fills one buffer that is used again for the next row: nothing is allocated for a good row.

Rules, by feature: a value that is missing (None, empty, blank or NaN) is flagged or refused as `Feature.on_missing`
says; a number outside its valid range as `on_out_of_range` says. A category that training never saw is treated as
missing. Text that is no number is refused always, and so is a number that float32 cannot hold: no model was trained
on infinity.
"""

import math
from collections.abc import Sequence
from typing import Final

from edge_agent.bundle import Feature, Manifest
from edge_agent.errors import RowError

WRONG_LENGTH: Final = "wrong_length"
MALFORMED: Final = "malformed"
NOT_A_NUMBER: Final = "not_a_number"
MISSING: Final = "missing"
OUT_OF_RANGE: Final = "out_of_range"
UNSEEN_CATEGORY: Final = "unseen_category"

RawValue = str | float | None
RawRow = Sequence[RawValue]

_NAN: Final = math.nan
_FLOAT32_MAX: Final = 3.4028234663852886e38


class Unreadable(tuple[RawValue, ...]):
    """The values of a row whose source could not take it apart: an empty row that is refused as ``malformed``.

    A source never drops such a row: it has a number, so it must be counted.
    """

    __slots__ = ()


class EncodedRow:
    """A row as the model takes it; one instance belongs to its encoder and is filled again by the next row.

    Attributes:
        values: ``(n_features,)``: NaN where missing, a category as its index.
        out_of_range: indices of the features whose value was flagged as out of range.
        has_missing: whether any of `values` is NaN.
    """

    __slots__ = ("has_missing", "out_of_range", "values")

    def __init__(self, n_features: int) -> None:
        self.values: list[float] = [_NAN] * n_features
        self.out_of_range: list[int] = []
        self.has_missing = False


class Rule:
    """One feature's rules, taken apart once."""

    __slots__ = ("categories", "high", "low", "name", "refuses_missing", "refuses_out_of_range")

    def __init__(self, feature: Feature) -> None:
        is_category = feature.dtype == "category"
        self.name = feature.name
        self.low = -_FLOAT32_MAX if feature.valid_min is None or is_category else feature.valid_min
        self.high = _FLOAT32_MAX if feature.valid_max is None or is_category else feature.valid_max
        self.categories = {name: float(i) for i, name in enumerate(feature.categories)} if is_category else None
        self.refuses_missing = feature.on_missing == "refuse"
        self.refuses_out_of_range = feature.on_out_of_range == "refuse"


class RowEncoder:
    """Encodes the rows of one bundle; used by one thread.

    Attributes:
        rules: of each feature.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.rules = tuple(Rule(feature) for feature in manifest.features)
        # The limits beside their rule: the loop over a row looks nothing up that a good value does not need.
        self._limits = tuple((rule.low, rule.high, rule) for rule in self.rules)
        self._row = EncodedRow(len(self.rules))

    def encode(self, raw: RawRow) -> EncodedRow:
        """Encode one row of a source.

        Args:
            raw: ``(n_features,)`` in the manifest's order: numbers, text of numbers, names of categories, or None.

        Returns:
            The encoder's own row, valid until the next call.

        Raises:
            RowError: the row is refused; `kind` is the rule, `feature` the index of the value that broke it.
        """
        row = self._row
        values, out_of_range = row.values, row.out_of_range
        out_of_range.clear()
        row.has_missing = False
        if len(raw) != len(values):
            raise _wrong_length(raw, len(values))
        for index, (value, (low, high, rule)) in enumerate(zip(raw, self._limits, strict=True)):
            number = value if type(value) is float and rule.categories is None else _encode(value, rule, index)
            # Two comparisons pass a good value; NaN fails them too and is sorted out below.
            if not low <= number <= high:
                self._judge(number, rule, index)
            values[index] = number
        return row

    def encode_indexed(self, row: Sequence[float | None]) -> EncodedRow:
        """Encode a row whose categories are indices already, as golden rows, samples and ``ScoreRow`` carry them.

        Raises:
            RowError: as `encode` does; an index that is not one of the categories is an unseen category.
        """
        named: list[RawValue] = [
            _category_name(value, rule) if rule.categories is not None and value is not None else value
            for value, rule in zip(row, self.rules, strict=False)
        ]
        return self.encode(named if len(row) == len(self.rules) else row)

    def _judge(self, number: float, rule: Rule, index: int) -> None:
        if math.isnan(number):
            if rule.refuses_missing:
                raise RowError(MISSING, f"feature {rule.name!r} has no value", index)
            self._row.has_missing = True
            return
        if rule.refuses_out_of_range or abs(number) > _FLOAT32_MAX:
            msg = f"feature {rule.name!r} is {number:g}, valid are {rule.low:g} to {rule.high:g}"
            raise RowError(OUT_OF_RANGE, msg, index)
        self._row.out_of_range.append(index)


def _wrong_length(raw: RawRow, expected: int) -> RowError:
    if isinstance(raw, Unreadable):
        return RowError(MALFORMED, "the source could not take the row apart")
    return RowError(WRONG_LENGTH, f"row of {len(raw)} values, the bundle takes {expected}")


def _encode(value: RawValue, rule: Rule, index: int) -> float:
    if rule.categories is not None:
        return _category_index(value, rule, index)
    if value is None:
        return _NAN
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        if isinstance(value, str) and not value.strip():
            return _NAN
        msg = f"feature {rule.name!r} is {str(value)[:40]!r}, not a number"
        raise RowError(NOT_A_NUMBER, msg, index) from error
    # Python reads 1_000 as a number, and True as 1; a source that says so is mistaken.
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        msg = f"feature {rule.name!r} is {str(value)[:40]!r}, not a number"
        raise RowError(NOT_A_NUMBER, msg, index)
    return number


def _category_index(value: RawValue, rule: Rule, index: int) -> float:
    name = value if isinstance(value, str) else _text(value)
    found = rule.categories.get(name) if rule.categories is not None else None
    if found is not None:
        return found
    text = name.strip()
    if rule.categories is not None and text in rule.categories:
        return rule.categories[text]
    if rule.refuses_missing and text and text.lower() != "nan":
        msg = f"feature {rule.name!r} is {name[:40]!r}, a category that training never saw"
        raise RowError(UNSEEN_CATEGORY, msg, index)
    return _NAN


def _text(value: float | None) -> str:
    """Return a number as the name of a category would be written: 3 for 3.0; empty for a missing one."""
    if value is None or math.isnan(value):
        return ""
    return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)


def _category_name(value: float, rule: Rule) -> str:
    if math.isnan(value):
        return ""
    names = tuple(rule.categories or ())
    if value in range(len(names)):
        return names[int(value)]
    return f"index {value:g}"
