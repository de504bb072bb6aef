"""Models as people build them: pipelines over gaps and categories, ensembles of ensembles, the boosting libraries."""

import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, Final

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from edge_agent.bundle import Feature
from exporter.models.answers import labels_of_estimator, task_of
from exporter.models.model import FittedModel, Rows
from tests.integration.exporter.coverage.case import Case

PIPELINES: Final = "Pipelines and ensembles"
BOOSTING: Final = "LightGBM and XGBoost"
GAPS_AND_CATEGORIES: Final = "Gaps and categories"
PLACES: Final = ("cellar", "hall", "roof", "yard")
_MIXED: Final = (
    Feature("warmth", on_missing="flag"),
    Feature("load", on_missing="flag"),
    Feature("place", "category", categories=PLACES, on_missing="flag"),
    Feature("strength"),
)
_LOADERS: Final = {"cancer": load_breast_cancer, "wine": load_wine, "diabetes": load_diabetes}


@cache
def real_data(name: str) -> tuple[Rows, Any]:
    """Return rows of the first 8 features of a real data set, and their truth; every second row is for training."""
    rows, truth = _LOADERS[name](return_X_y=True)
    return rows[:, :8].astype(np.float32), truth


@cache
def mixed_data() -> tuple[Rows, Any]:
    """Return 400 rows of `_MIXED`, with gaps, and two classes."""
    rng = np.random.default_rng(8)
    rows = np.stack([rng.normal(20, 5, 400), rng.exponential(3, 400), rng.integers(0, 4, 400), rng.random(400)], axis=1)
    truth = (rows[:, 0] + 4 * rows[:, 1] + np.array([0, 6, -6, 2])[rows[:, 2].astype(int)] > 32).astype(int)
    truth ^= rng.random(400) < 0.1
    rows[:, :3][rng.random((400, 3)) < 0.1] = np.nan
    return rows.astype(np.float32), truth


def mixed_frame(rows: Rows) -> pd.DataFrame:
    """Return rows of `_MIXED` as people hand them to training: with names of places."""
    frame = pd.DataFrame(rows, columns=[feature.name for feature in _MIXED])
    codes: list[int] = np.nan_to_num(rows[:, 2], nan=-1).astype(int).tolist()
    frame["place"] = pd.Categorical.from_codes(codes, categories=None, dtype=pd.CategoricalDtype(list(PLACES)))
    return frame


def _columns(numbers: Any, categories: Any) -> ColumnTransformer:
    return ColumnTransformer([("numbers", numbers, [0, 1, 3]), ("categories", categories, [2])])


def _encoded() -> ColumnTransformer:
    """Return what makes numbers of everything: gaps filled and flagged, categories one column each."""
    categories = OneHotEncoder(handle_unknown="ignore")
    return _columns(make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), categories)


def _tree(**settings: Any) -> RandomForestClassifier:
    return RandomForestClassifier(20, random_state=0, **settings)


_ON_CLASSES: Final[dict[str, Callable[[], Any]]] = {
    "StandardScaler + logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "StandardScaler + SVC": lambda: make_pipeline(StandardScaler(), SVC()),
    "StandardScaler + MLP": lambda: make_pipeline(StandardScaler(), MLPClassifier((12, 8), max_iter=80)),
    "MinMaxScaler + MLP of tanh": lambda: make_pipeline(MinMaxScaler(), MLPClassifier(12, activation="tanh")),
    "StandardScaler + random forest": lambda: make_pipeline(StandardScaler(), _tree()),
    "PCA + random forest": lambda: make_pipeline(StandardScaler(), PCA(4), _tree(max_depth=4)),
    "PCA + logistic regression": lambda: make_pipeline(StandardScaler(), PCA(4), LogisticRegression()),
    "SelectKBest + SVC": lambda: make_pipeline(StandardScaler(), SelectKBest(k=4), SVC(probability=False)),
    "SelectKBest + extra trees": lambda: make_pipeline(SelectKBest(k=4), ExtraTreesClassifier(20, max_depth=5)),
    "sigmoid calibration of scaler and SVC": lambda: CalibratedClassifierCV(
        make_pipeline(StandardScaler(), SVC()), method="sigmoid", cv=2
    ),
    "isotonic calibration of scaler and forest": lambda: CalibratedClassifierCV(
        make_pipeline(StandardScaler(), _tree()), method="isotonic", cv=2
    ),
    "isotonic calibration of logistic regression": lambda: CalibratedClassifierCV(
        make_pipeline(StandardScaler(), LogisticRegression()), method="isotonic", cv=2, ensemble=False
    ),
    "temperature calibration of gradient boosting": lambda: CalibratedClassifierCV(
        GradientBoostingClassifier(n_estimators=10), method="temperature", cv=2
    ),
    "PowerTransformer of small numbers + logistic regression": lambda: make_pipeline(
        MinMaxScaler((-1e-6, 1e-6)), PowerTransformer(), LogisticRegression()
    ),
    "soft vote": lambda: VotingClassifier(_voters(), voting="soft", weights=[2, 1, 1]),
    "hard vote": lambda: VotingClassifier(_voters(), voting="hard"),
    "stacking": lambda: StackingClassifier(_voters(), LogisticRegression(), cv=2),
    "stacking with the row passed on": lambda: StackingClassifier(_voters(), _tree(), cv=2, passthrough=True),
}
_ON_VALUES: Final[dict[str, Callable[[], Any]]] = {
    "StandardScaler + SVR": lambda: make_pipeline(StandardScaler(), SVR(C=50)),
    "TransformedTargetRegressor of scaler and MLP": lambda: TransformedTargetRegressor(
        make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=12, max_iter=200)), transformer=StandardScaler()
    ),
    "TransformedTargetRegressor of logarithm": lambda: TransformedTargetRegressor(
        make_pipeline(StandardScaler(), Ridge()), func=np.log1p, inverse_func=np.expm1
    ),
    "TransformedTargetRegressor of powers": lambda: TransformedTargetRegressor(
        make_pipeline(StandardScaler(), Ridge()), transformer=PowerTransformer()
    ),
    "RobustScaler + random forest of values": lambda: make_pipeline(
        RobustScaler(), RandomForestRegressor(20, max_depth=6)
    ),
    "stacking of values": lambda: StackingRegressor(
        [("ridge", Ridge()), ("boosting", HistGradientBoostingRegressor(max_iter=10))], Ridge(), cv=2
    ),
    "LGBMRegressor": lambda: LGBMRegressor(n_estimators=20, verbose=-1),
    "LGBMRegressor of gamma": lambda: LGBMRegressor(n_estimators=20, objective="gamma", verbose=-1),
    "XGBRegressor": lambda: XGBRegressor(n_estimators=20, n_jobs=1),
    "XGBRegressor of gblinear": lambda: XGBRegressor(n_estimators=20, booster="gblinear", n_jobs=1),
    "HistGradientBoostingRegressor of Poisson": lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=20),
}
_ON_MANY: Final[dict[str, Callable[[], Any]]] = {
    "LGBMClassifier of many": lambda: LGBMClassifier(n_estimators=10, verbose=-1),
    "LGBMClassifier of forest": lambda: LGBMClassifier(
        n_estimators=10, boosting_type="rf", bagging_freq=1, bagging_fraction=0.7, verbose=-1
    ),
    "XGBClassifier of many": lambda: XGBClassifier(n_estimators=10, n_jobs=1),
    "XGBClassifier of dart": lambda: XGBClassifier(n_estimators=10, booster="dart", rate_drop=0.3, n_jobs=1),
    "SVC with probabilities": lambda: make_pipeline(StandardScaler(), SVC(probability=True)),
}
_UNTAUGHT: Final[dict[str, Callable[[], Any]]] = {
    "StandardScaler + isolation forest": lambda: make_pipeline(StandardScaler(), IsolationForest(n_estimators=30)),
    "isolation forest with a contamination": lambda: IsolationForest(
        n_estimators=30, contamination=0.05, max_features=0.5
    ),
    "StandardScaler + one-class SVM": lambda: make_pipeline(StandardScaler(), OneClassSVM(nu=0.1)),
    "StandardScaler + k-means": lambda: make_pipeline(StandardScaler(), KMeans(5)),
    "PCA + k-means": lambda: make_pipeline(StandardScaler(), PCA(3), KMeans(5)),
}
_ON_MIXED: Final[dict[str, Callable[[], Any]]] = {
    "imputer + one-hot + logistic regression": lambda: make_pipeline(_encoded(), LogisticRegression()),
    "imputer + one-hot + MLP": lambda: make_pipeline(_encoded(), MLPClassifier(8, max_iter=80)),
    "imputer + one-hot + random forest": lambda: make_pipeline(_encoded(), _tree()),
    "imputer + one-hot + histogram boosting": lambda: make_pipeline(
        _encoded(), HistGradientBoostingClassifier(max_iter=15)
    ),
    "ordinal + histogram boosting": lambda: make_pipeline(
        _columns("passthrough", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)),
        HistGradientBoostingClassifier(max_iter=15, categorical_features=[3]),
    ),
    "histogram boosting on categories of a data frame": lambda: HistGradientBoostingClassifier(
        max_iter=15, categorical_features="from_dtype"
    ),
    "LGBMClassifier on categories of a data frame": lambda: LGBMClassifier(
        n_estimators=15, min_data_per_group=5, verbose=-1
    ),
}
_ON_GAPS: Final[dict[str, Callable[[], Any]]] = {
    "decision tree": lambda: DecisionTreeClassifier(max_depth=6),
    "random forest": lambda: _tree(max_depth=6),
    "histogram boosting": lambda: HistGradientBoostingClassifier(max_iter=15),
    "LGBMClassifier": lambda: LGBMClassifier(n_estimators=15, verbose=-1),
    "LGBMClassifier with zero as missing": lambda: LGBMClassifier(n_estimators=15, zero_as_missing=True, verbose=-1),
    "XGBClassifier": lambda: XGBClassifier(n_estimators=15, n_jobs=1),
    "XGBClassifier on indices of categories": lambda: XGBClassifier(
        n_estimators=15, feature_types=["q", "q", "c", "q"], enable_categorical=True, n_jobs=1
    ),
    "median imputer + scaler + random forest": lambda: make_pipeline(
        SimpleImputer(strategy="median"), StandardScaler(), _tree(max_depth=6)
    ),
}


def _voters() -> list[tuple[str, Any]]:
    """Return three families that vote."""
    linear = make_pipeline(StandardScaler(), LogisticRegression())
    return [
        ("linear", linear),
        ("forest", _tree(max_depth=5)),
        ("boosting", GradientBoostingClassifier(n_estimators=9)),
    ]


def composite_makers() -> tuple[Callable[[], Iterator[Case]], ...]:
    """Return what fits each composite model; the last of every three rows judges it."""
    found: list[Callable[[], Iterator[Case]]] = []
    for models, data in ((_ON_CLASSES, "cancer"), (_UNTAUGHT, "wine"), (_ON_VALUES, "diabetes"), (_ON_MANY, "wine")):
        found += [partial(_on_real_data, _group_of(name), name, make, data) for name, make in models.items()]
    for models, is_frame in ((_ON_MIXED, True), (_ON_GAPS, False)):
        found += [partial(_on_mixed_data, name, make, is_frame=is_frame) for name, make in models.items()]
    return tuple(found)


def _on_real_data(group: str, name: str, make: Callable[[], Any], data: str) -> Iterator[Case]:
    yield _case(group, name, make(), *real_data(data))


def _on_mixed_data(name: str, make: Callable[[], Any], *, is_frame: bool) -> Iterator[Case]:
    yield _case(GAPS_AND_CATEGORIES, name, make(), *mixed_data(), _MIXED, is_frame=is_frame)


def _group_of(name: str) -> str:
    return BOOSTING if name.startswith(("LGBM", "XGB")) else PIPELINES


def _case(
    group: str,
    name: str,
    estimator: Any,
    rows: Rows,
    truth: Any,
    features: tuple[Feature, ...] = (),
    *,
    is_frame: bool = False,
) -> Case:
    is_held = np.arange(len(rows)) % 3 == 2
    trained: Any = rows[~is_held]
    seed(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(mixed_frame(trained) if is_frame else trained.astype(np.float64), truth[~is_held])
    features = features or tuple(Feature(f"f{i}") for i in range(rows.shape[1]))
    model = FittedModel(estimator, task_of(estimator), features, labels_of_estimator(estimator))
    return Case(group, name, model, rows[is_held])


def seed(estimator: Any) -> None:
    """Take chance out of an estimator and of all that are in it."""
    parameters = estimator.get_params()
    estimator.set_params(**dict.fromkeys((key for key in parameters if key.endswith("random_state")), 0))
