"""Candidates that the project names itself: imported by their dotted names and checked before any row is read."""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from sklearn.base import is_classifier, is_outlier_detector, is_regressor

from edge_agent.bundle import Task
from trainer.errors import ProjectError
from trainer.pipeline.candidates import FAMILIES, Choice, Circumstances, Family, Parameters, Real, Value, Whole
from trainer.project.estimators import EstimatorSection, Parameter, ParameterRange

_IS_OF_TASK: Final[Mapping[Task, Callable[[Any], bool]]] = {
    "classification": is_classifier,
    "regression": is_regressor,
    "anomaly": is_outlier_detector,
}
# So alike are a name and the one that was meant, where any name is taken.
_SLIP: Final = 0.8
# What a parameter is set to unless the project says otherwise: the same rows must give the same model on any machine.
_STEADY: Final[Mapping[str, Mapping[str, Parameter]]] = {
    "lightgbm": {"deterministic": True, "force_row_wise": True, "n_jobs": 1, "verbosity": -1},
    "xgboost": {"n_jobs": 1, "verbosity": 0},
}


def families_named(sections: Sequence[EstimatorSection], task: Task) -> tuple[Family, ...]:
    """Return the families of the project's own estimators.

    Raises:
        ProjectError: one cannot be imported, is no estimator of the task, or has no such parameter; a name that a
            built-in family has.
    """
    return tuple(_family_of(section, task) for section in sections)


def _family_of(section: EstimatorSection, task: Task) -> Family:
    where = f"key 'training.estimators': {section.name!r}"
    if section.name in FAMILIES:
        msg = f"{where} is the name of a built-in family; take another"
        raise ProjectError(msg)
    make = _import(section.class_, where)
    space = {name: _space_of(values) for name, values in section.space.items()}
    fixed = {**_steady(make), **section.fixed}
    known = _parameters_of(make)
    for name in (*section.fixed, *space):
        _verify_parameter(name, known, section.class_, where)
    start = {name: section.start.get(name, _start_of(space[name], known.defaults.get(name))) for name in space}

    def build(parameters: Parameters, circumstances: Circumstances) -> Any:  # noqa: ANN401 - scikit-learn ships no types
        seed = {"random_state": circumstances.seed} if "random_state" in known.defaults else {}
        return make(**{**seed, **fixed, **parameters})

    estimator = _verify_estimator(build, start, task, where, section)
    _verify_start(start, space, where)
    return Family(
        section.name,
        frozenset({task}),
        start,
        space,
        is_scaled=section.is_scaled,
        build=build,
        takes_weights=_takes_weights(estimator),
        is_named=True,
    )


def _import(dotted: str, where: str) -> Callable[..., Any]:
    module_name, _, name = dotted.rpartition(".")
    try:
        module = import_module(module_name)
    except ImportError as error:
        msg = f"{where}: {dotted} cannot be imported: {error}; install it where fieldloop runs, or put it on PYTHONPATH"
        raise ProjectError(msg) from error
    found = getattr(module, name, None)
    if found is None:
        nearest = difflib.get_close_matches(name, dir(module), n=1, cutoff=0.5)
        hint = f"; did you mean {module_name}.{nearest[0]}?" if nearest else ""
        msg = f"{where}: {module_name} has no {name!r}{hint}"
        raise ProjectError(msg)
    if not callable(found):
        msg = f"{where}: {dotted} is a {type(found).__name__}: name a class, or a function that returns an estimator"
        raise ProjectError(msg)
    checked: Callable[..., Any] = found
    return checked


@dataclass(frozen=True, slots=True)
class _Known:
    """Parameters with their defaults; `takes_any`: others are handed on to what is behind, and cannot be checked."""

    defaults: Mapping[str, Any]
    takes_any: bool


def _parameters_of(make: Callable[..., Any]) -> _Known:
    try:
        signature = inspect.signature(make).parameters.values()
    except ValueError:  # nothing is said of what is written in C
        return _Known({}, takes_any=True)
    named = {p.name: p.default for p in signature if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature)
    if takes_any and isinstance(make, type) and hasattr(make, "get_params"):
        # A booster names most of its parameters in its parent class.
        named = {**make().get_params(), **named}
    return _Known(named, takes_any)


def _verify_parameter(name: str, known: _Known, dotted: str, where: str) -> None:
    if name in known.defaults:
        return
    nearest = difflib.get_close_matches(name, known.defaults, n=1, cutoff=_SLIP if known.takes_any else 0.5)
    if known.takes_any and not nearest:
        return
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are: {', '.join(sorted(known.defaults))}"
    msg = f"{where}: {dotted} has no parameter {name!r}; {hint}"
    raise ProjectError(msg)


def _steady(make: Callable[..., Any]) -> dict[str, Parameter]:
    module = (getattr(make, "__module__", "") or "").partition(".")[0]
    return dict(_STEADY.get(module, {}))


def _space_of(values: ParameterRange) -> Whole | Real | Choice:
    if values.int is not None:
        return Whole(*values.int, log=values.log)
    if values.float is not None:
        return Real(*values.float, log=values.log)
    return Choice(values.choice or ())


def _start_of(space: Whole | Real | Choice, default: object) -> Value:
    """Return the class's own default where the space holds it, else the middle of the space."""
    if isinstance(space, Choice):
        return next((value for value in space.values if value == default), space.values[0])
    if isinstance(default, int | float) and not isinstance(default, bool) and space.low <= default <= space.high:
        return int(default) if isinstance(space, Whole) else float(default)
    middle = (space.low * space.high) ** 0.5 if space.log else (space.low + space.high) / 2
    return round(middle) if isinstance(space, Whole) else float(middle)


def _verify_start(start: Parameters, space: Mapping[str, Whole | Real | Choice], where: str) -> None:
    for name, value in start.items():
        within = space[name]
        if isinstance(within, Choice):
            is_inside = value in within.values
        else:
            is_inside = not isinstance(value, str | bool) and within.low <= value <= within.high
            is_inside = is_inside and (isinstance(within, Real) or isinstance(value, int))
        if not is_inside:
            msg = f"{where}: the start {name} = {value!r} is not in its space; begin within it"
            raise ProjectError(msg)


def _verify_estimator(
    build: Callable[[Parameters, Circumstances], Any],
    start: Parameters,
    task: Task,
    where: str,
    section: EstimatorSection,
) -> Any:  # noqa: ANN401 - scikit-learn ships no types
    try:
        estimator = build(start, Circumstances(task, 2, 100, 1 << 20, seed=0))
    except (TypeError, ValueError) as error:
        msg = f"{where}: {section.class_} does not take its parameters: {error}"
        raise ProjectError(msg) from error
    if not all(hasattr(estimator, name) for name in ("fit", "get_params", "set_params")):
        kind = type(estimator).__name__
        msg = f"{where}: {section.class_} gives a {kind}, which is no estimator in scikit-learn's manner"
        raise ProjectError(msg)
    if not _IS_OF_TASK[task](estimator):
        msg = f"{where}: {section.class_} does no {task}; take it out, or change 'target.task'"
        raise ProjectError(msg)
    return estimator


def _takes_weights(estimator: Any) -> bool:  # noqa: ANN401
    """Tell whether an estimator, or the last step of a pipeline, is fitted with weights of rows."""
    steps = getattr(estimator, "steps", None)
    last = steps[-1][1] if steps else estimator
    return "sample_weight" in inspect.signature(last.fit).parameters
