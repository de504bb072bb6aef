"""The families of models that a search may try: what varies in each, where it starts, how one is built.

This table knows scikit-learn, not the search: ranges are plain values.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import OneClassSVM

from edge_agent.bundle import Task
from trainer.errors import ProjectError

Value = bool | int | float | str
Parameters = Mapping[str, Value]

_MIN_LEAVES: Final = 8
_MAX_LEAVES: Final = 4096
# Bytes of one leaf and its share of inner nodes in an ONNX tree ensemble (measured 30-80 a node); then class weights.
_LEAF_BYTES: Final = 70
_LEAF_OUTPUT_BYTES: Final = 14
# A small network on a table needs some thousand updates; fewer rows therefore mean more epochs.
_MLP_UPDATES: Final = 1200
_MLP_EPOCHS: Final = (30, 300)
_SMALL_DATA_ROWS: Final = 2000


@dataclass(frozen=True, slots=True)
class Whole:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True, slots=True)
class Real:
    """Numbers from `low` to `high`; on a logarithmic scale unless said otherwise."""

    low: float
    high: float
    log: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values."""

    values: tuple[Value, ...]


Space = Mapping[str, Whole | Real | Choice]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a model is built for, besides its parameters.

    Attributes:
        n_rows: rows that it will be fitted on.
        max_size_bytes: what a device can take: trees are kept to it.
    """

    task: Task
    n_outputs: int
    n_rows: int
    max_size_bytes: int
    seed: int


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table.

    Attributes:
        starts_with: parameters of the family's first trial.
        is_scaled: its inputs are standardised first.
        build: an estimator that is not fitted yet.
        takes_weights: whether it is fitted with weights of rows.
        is_named: whether the project names it: nobody has tried yet whether devices can run it.
    """

    name: str
    tasks: frozenset[Task]
    starts_with: Parameters
    space: Space
    is_scaled: bool
    build: Callable[[Parameters, Circumstances], Any]
    takes_weights: bool = True
    is_named: bool = False


def _max_leaves(trees: int, circumstances: Circumstances) -> int:
    leaf_bytes = _LEAF_BYTES + _LEAF_OUTPUT_BYTES * circumstances.n_outputs
    return min(max(circumstances.max_size_bytes // (trees * leaf_bytes), _MIN_LEAVES), _MAX_LEAVES)


def _trees(classifier: Any, regressor: Any) -> Callable[[Parameters, Circumstances], Any]:  # noqa: ANN401
    def build(parameters: Parameters, circumstances: Circumstances) -> Any:  # noqa: ANN401
        make = classifier if circumstances.task == "classification" else regressor
        return make(
            n_estimators=parameters["trees"],
            min_samples_leaf=parameters["min_leaf"],
            max_features=parameters["feature_share"],
            max_leaf_nodes=_max_leaves(int(parameters["trees"]), circumstances),
            random_state=circumstances.seed,
        )

    return build


def _boosting(parameters: Parameters, circumstances: Circumstances) -> Any:  # noqa: ANN401
    is_classification = circumstances.task == "classification"
    make = HistGradientBoostingClassifier if is_classification else HistGradientBoostingRegressor
    trees_a_round = circumstances.n_outputs if circumstances.n_outputs > 2 else 1  # noqa: PLR2004 - two classes share trees
    rounds = int(parameters["rounds"])
    return make(
        max_iter=rounds,
        learning_rate=parameters["rate"],
        max_leaf_nodes=min(int(parameters["leaves"]), _max_leaves(rounds * trees_a_round, circumstances)),
        min_samples_leaf=parameters["min_leaf"],
        early_stopping=False,
        random_state=circumstances.seed,
    )


def _network(parameters: Parameters, circumstances: Circumstances) -> Any:  # noqa: ANN401
    make = MLPClassifier if circumstances.task == "classification" else MLPRegressor
    n_rows = circumstances.n_rows
    batch = min(32 if n_rows < _SMALL_DATA_ROWS else 200, n_rows)
    epochs = min(max(_MLP_UPDATES * batch // n_rows, _MLP_EPOCHS[0]), _MLP_EPOCHS[1])
    return make(
        hidden_layer_sizes=tuple(int(width) for width in str(parameters["layers"]).split("-")),
        alpha=parameters["decay"],
        learning_rate_init=parameters["rate"],
        batch_size=batch,
        max_iter=epochs,
        random_state=circumstances.seed,
    )


def _logistic(parameters: Parameters, circumstances: Circumstances) -> Any:  # noqa: ANN401
    return LogisticRegression(C=parameters["c"], max_iter=300, random_state=circumstances.seed)


def _ridge(parameters: Parameters, circumstances: Circumstances) -> Any:  # noqa: ANN401
    return Ridge(alpha=parameters["alpha"], random_state=circumstances.seed)


def _isolation(parameters: Parameters, circumstances: Circumstances) -> Any:  # noqa: ANN401
    trees, sample = int(parameters["trees"]), min(int(parameters["sample"]), circumstances.n_rows)
    # A tree that isolates every row of its sample has as many leaves.
    fitting = max(circumstances.max_size_bytes // (trees * _LEAF_BYTES), _MIN_LEAVES)
    return IsolationForest(
        n_estimators=trees,
        max_samples=min(sample, fitting),
        contamination=parameters["false_alarms"],
        random_state=circumstances.seed,
    )


def _one_class(parameters: Parameters, _: Circumstances) -> Any:  # noqa: ANN401 - nothing is drawn
    return OneClassSVM(nu=parameters["false_alarms"], gamma=parameters["gamma"])


_BOTH: Final[frozenset[Task]] = frozenset({"classification", "regression"})
_TREE_START: Final = {"trees": 80, "min_leaf": 5, "feature_share": 0.4}
_TREE_SPACE: Final[Space] = {
    "trees": Whole(40, 100),
    "min_leaf": Whole(2, 24, log=True),
    "feature_share": Real(0.1, 1.0),
}

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family(
                "forest",
                _BOTH,
                _TREE_START,
                _TREE_SPACE,
                is_scaled=False,
                build=_trees(RandomForestClassifier, RandomForestRegressor),
            ),
            Family(
                "extra_trees",
                _BOTH,
                _TREE_START,
                _TREE_SPACE,
                is_scaled=False,
                build=_trees(ExtraTreesClassifier, ExtraTreesRegressor),
            ),
            Family(
                "hist_gradient_boosting",
                _BOTH,
                {"rounds": 80, "rate": 0.08, "leaves": 15, "min_leaf": 20},
                {
                    "rounds": Whole(40, 160),
                    "rate": Real(0.02, 0.3),
                    "leaves": Whole(4, 31, log=True),
                    "min_leaf": Whole(5, 60, log=True),
                },
                is_scaled=False,
                build=_boosting,
            ),
            Family(
                "mlp",
                _BOTH,
                {"layers": "32", "decay": 1e-3, "rate": 3e-3},
                {
                    "layers": Choice(("16", "32", "64", "32-16")),
                    "decay": Real(1e-5, 1.0),
                    "rate": Real(1e-3, 1e-2),
                },
                is_scaled=True,
                build=_network,
            ),
            Family(
                "logistic",
                frozenset({"classification"}),
                {"c": 1.0},
                {"c": Real(1e-3, 1e2)},
                is_scaled=True,
                build=_logistic,
            ),
            Family(
                "ridge",
                frozenset({"regression"}),
                {"alpha": 1.0},
                {"alpha": Real(1e-3, 1e3)},
                is_scaled=True,
                build=_ridge,
            ),
            Family(
                "isolation_forest",
                frozenset({"anomaly"}),
                {"trees": 80, "sample": 256, "false_alarms": 0.02},
                {
                    "trees": Whole(40, 150),
                    "sample": Whole(64, 512, log=True),
                    "false_alarms": Real(1e-3, 0.2),
                },
                is_scaled=False,
                build=_isolation,
            ),
            Family(
                "one_class_svm",
                frozenset({"anomaly"}),
                {"false_alarms": 0.02, "gamma": 0.1},
                {"false_alarms": Real(1e-3, 0.2), "gamma": Real(1e-3, 3.0)},
                is_scaled=True,
                build=_one_class,
            ),
        )
    }
)


_USUAL: Final[Mapping[Task, tuple[str, ...]]] = {
    "classification": ("forest", "mlp"),
    "regression": ("forest", "mlp"),
    "anomaly": ("isolation_forest", "one_class_svm"),
}


def families_of(names: Sequence[str], task: Task) -> tuple[Family, ...]:
    """Return the families of a project; without names the usual ones of the task.

    Raises:
        ProjectError: a name that is not in the table, or a family that does not do the task.
    """
    for name in names:
        if name not in FAMILIES:
            nearest = difflib.get_close_matches(name, FAMILIES, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are: {', '.join(FAMILIES)}"
            msg = f"key 'training.candidates': there is no family {name!r}; {hint}"
            raise ProjectError(msg)
        if task not in FAMILIES[name].tasks:
            fitting = ", ".join(family.name for family in FAMILIES.values() if task in family.tasks)
            msg = f"key 'training.candidates': {name!r} does no {task}; these do: {fitting}"
            raise ProjectError(msg)
    return tuple(FAMILIES[name] for name in dict.fromkeys(names or _USUAL[task]))
