"""Rows that lie exactly on the thresholds of trees, and next to them: where a wrong comparison shows.

Real rows are taken as they are but for one number, which is put on a threshold of a node that the row comes past, one
float32 below it or one above. Trees that look at computed columns are left out, for no single number of the row can be
put on their thresholds; `exporter.programs.folding` moves most of them to the row.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.models.model import Rows
from exporter.programs.ensemble import LEAF, NUMERIC, TreeEnsemble
from exporter.programs.float32 import at_ordinals, ordinals_of
from exporter.programs.program import Columns, Join, Program, Row, Trees

Places = NDArray[np.int64]

# In place of a feature's number.
_COMPUTED: Final = -1
# How often a node is visited at most, each time by another row.
_ROUNDS: Final = 20


def threshold_rows(
    program: Program,
    rows: Rows,
    rng: np.random.Generator,
    limit: int,
    may_miss: frozenset[int] = frozenset(),
    categories: Mapping[int, int] | None = None,
) -> Rows:
    """Return rows on and next to the thresholds that real rows come past.

    Args:
        program: whose trees are looked at; as folded, if its steps before the trees can be folded.
        rows: ``(n, n_features) float32`` real rows.
        rng: chooses nodes and rows.
        limit: greatest number of rows returned.
        may_miss: features that may be missing: every fourth row gets NaN in one of them.
        categories: features that hold indices of categories, with the number of categories: they get whole numbers.

    Returns:
        ``(m, n_features) float32`` with m ≤ limit; no rows when no tree looks at the row itself.
    """
    ensembles = list(trees_on_row(program))
    counts = np.array([(categories or {}).get(feature, 0) for feature in range(program.n_features)])
    found = [np.empty(0, dtype=_VISIT)]
    while len(rows) and len(found) <= _ROUNDS and sum(map(len, found)) < limit / 3:
        visited = [_visits(trees, columns, rows, counts, rng) for trees, columns in ensembles]
        found.append(np.concatenate([found[0], *visited]))
    visits = np.concatenate(found)
    # Nodes by chance; all numbers of a node stay together.
    visits = visits[rng.permutation(len(visits))]
    made = [rows[visits["row"]].copy() for _ in range(3)]
    places = np.arange(len(visits))
    for copies, values in zip(made, (visits["at"], visits["under"], visits["over"]), strict=True):
        copies[places, visits["feature"]] = values
    chosen = np.stack(made, axis=1).reshape(-1, rows.shape[1])[:limit]
    if may_miss:
        lacking = np.arange(3, len(chosen), 4)
        chosen[lacking, rng.choice(sorted(may_miss), size=len(lacking))] = np.nan
    return np.ascontiguousarray(chosen, dtype=np.float32)


def reachable_thresholds(program: Program) -> tuple[NDArray[np.float32], ...]:
    """Return the distinct thresholds at which a tree looks at each feature of the row, ascending."""
    found: list[list[NDArray[np.float32]]] = [[] for _ in range(program.n_features)]
    for ensemble, columns in trees_on_row(program):
        for column, thresholds in zip(columns.tolist(), ensemble.thresholds(), strict=True):
            if column != _COMPUTED:
                found[column].append(thresholds)
    empty = np.empty(0, dtype=np.float32)
    return tuple(np.unique(np.concatenate([empty, *parts])) for parts in found)


def trees_on_row(program: Program) -> Iterator[tuple[TreeEnsemble, Places]]:
    """Yield each ensemble with the feature that each of its columns is, -1 for computed columns."""
    features: list[Places] = []
    for node in program.nodes:
        match node.operation:
            case Row(n_features):
                features.append(np.arange(n_features))
            case Columns(of, places):
                features.append(features[of][list(places)])
            case Join(of):
                features.append(np.concatenate([features[place] for place in of]))
            case operation:
                features.append(np.full(node.width, _COMPUTED))
                if isinstance(operation, Trees) and (features[operation.of] != _COMPUTED).any():
                    yield operation.ensemble, features[operation.of]


_VISIT: Final = np.dtype(
    [("row", np.int64), ("feature", np.int64), ("at", np.float32), ("under", np.float32), ("over", np.float32)]
)


def _visits(
    ensemble: TreeEnsemble, columns: Places, rows: Rows, n_categories: Places, rng: np.random.Generator
) -> NDArray[np.void]:
    """Return one visit a node that looks at the row and that some row comes past: the row, and the numbers to try."""
    values = rows[:, np.maximum(columns, 0)]
    visitor = np.full(len(ensemble.feature), -1)
    for root in ensemble.roots.tolist():
        # Of the rows that come past a node, a random one stays: the last to be written.
        order = rng.permutation(len(rows))
        for places, at in ensemble.walk(root, values[order]):
            visitor[at] = order[places]
    is_tried = (visitor >= 0) & (ensemble.feature != LEAF)
    is_tried &= columns[np.maximum(ensemble.feature, 0)] != _COMPUTED
    nodes = np.flatnonzero(is_tried)
    visits = np.empty(len(nodes), dtype=_VISIT)
    visits["row"] = visitor[nodes]
    visits["feature"] = columns[ensemble.feature[nodes]]
    # A node that only looks whether a number is missing: any number will do, but none that drowns the others in a sum.
    usual = np.where(np.isfinite(rows), np.abs(rows), 0).max(axis=0)[visits["feature"]] + 1
    thresholds = ensemble.threshold[nodes]
    thresholds = np.where(np.isinf(thresholds), np.copysign(usual, thresholds), thresholds).astype(np.float32)
    counts = n_categories[visits["feature"]]
    is_index = counts > 0
    whole = np.floor(thresholds)
    visits["at"] = np.where(is_index, np.clip(whole, 0, counts - 1), thresholds)
    visits["under"] = np.where(is_index, visits["at"], _next_to(thresholds, -1))
    visits["over"] = np.where(is_index, np.clip(whole + 1, 0, counts - 1), _next_to(thresholds, 1))
    for visit in np.flatnonzero(ensemble.category[nodes] != NUMERIC).tolist():
        test = ensemble.tests[ensemble.category[nodes[visit]]]
        lefts, rights = sorted(test.left) or [0], sorted(test.right) or [0]
        visits[visit]["at"] = rng.choice(lefts)
        visits[visit]["under"] = rng.choice(rights)
        visits[visit]["over"] = rng.choice([*lefts, *rights])
    return visits


def _next_to(values: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    return _finite(at_ordinals(ordinals_of(values) + step))


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    greatest = np.finfo(np.float32).max
    return np.clip(values, -greatest, greatest)
