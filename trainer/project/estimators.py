"""A candidate of the search that the project names itself: ``[[training.estimators]]``."""

import math
from typing import Annotated

from msgspec import Meta, field

from trainer.project.section import Section

Scalar = bool | int | float | str
# TOML has no word for "none", and scikit-learn takes a list of numbers as well as a tuple.
Parameter = Scalar | tuple[int | float, ...]
# The keys of a range are called like these types.
Integer = int
Number = float


class ParameterRange(Section, frozen=True, kw_only=True):
    """What one parameter may be; exactly one of the first three keys.

    Attributes:
        int: lowest and highest whole number, both included.
        float: lowest and highest number.
        choice: one of these values.
        log: whether the range is drawn on a logarithmic scale.
    """

    int: tuple[Integer, Integer] | None = None
    float: tuple[Number, Number] | None = None
    choice: Annotated[tuple[Scalar, ...], Meta(min_length=1)] | None = None
    log: bool = False


class EstimatorSection(Section, frozen=True, kw_only=True):
    """One estimator by the name under which Python imports it.

    Attributes:
        name: under which trials and facts show it.
        class_: dotted name of a class in scikit-learn's manner, or of a function that returns such an estimator.
        is_scaled: whether its inputs are standardised first.
        fixed: parameters that do not vary.
        space: parameters that the search varies.
        start: of the first trial; what is not said is the class's default, or the middle of the range.
    """

    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,40}$")]
    class_: Annotated[str, Meta(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")] = field(name="class")
    is_scaled: bool = False
    fixed: dict[str, Parameter] = field(default_factory=dict)
    space: dict[str, ParameterRange] = field(default_factory=dict)
    start: dict[str, Scalar] = field(default_factory=dict)


def range_problem(section: ParameterRange) -> str:
    """Say what is wrong with a range; empty when nothing is."""
    given = [key for key in ("int", "float", "choice") if getattr(section, key) is not None]
    if len(given) != 1:
        return f"needs exactly one of 'int', 'float' and 'choice', has {' and '.join(map(repr, given)) or 'none'}"
    if given == ["choice"]:
        return "'log' is for ranges of numbers" if section.log else ""
    low, high = getattr(section, given[0])
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        return f"{low} to {high} holds no number"
    return f"'log' needs a range above 0, not {low} to {high}" if section.log and low <= 0 else ""


def estimator_problems(sections: tuple[EstimatorSection, ...]) -> list[str]:
    """List what contradicts itself, before anything is imported."""
    problems = []
    names = [section.name for section in sections]
    for section in sections:
        where = f"estimator {section.name!r}"
        if names.count(section.name) > 1:
            problems.append(f"key 'training.estimators': {where} is listed twice")
        for name, values in section.space.items():
            problem = range_problem(values)
            if problem:
                problems.append(f"key 'training.estimators.space.{name}': {where}: {problem}")
            if name in section.fixed:
                problems.append(f"key 'training.estimators.space.{name}': {where}: it is fixed as well; say one")
        strangers = [name for name in section.start if name not in section.space]
        problems += [
            f"key 'training.estimators.start.{name}': {where}: the search does not vary it; give it a 'space', or "
            "put it under 'fixed'"
            for name in strangers
        ]
    return problems
