"""Moves what stands before trees into their thresholds, so that they decide on the row exactly as the library does.

A tree behind a scaler compares ``(x - mean) / scale`` with a threshold. The numbers x that go left are found once, here
(`exporter.programs.preimages`), and the tree compares x itself: no scaler, imputer or encoder is left to run, and none
to round differently on a device. A node whose numbers are no single comparison keeps looking at the computed column;
then the trees look at the row and at the columns that are still needed, side by side.

Answers do not change by a single bit, for every row that a device can encode: category columns hold the index of a
category or NaN, all others any float32.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import LEAF, NUMERIC, CategoryTest, TreeEnsemble
from exporter.programs.float32 import Float32s
from exporter.programs.planting import Nodes, nodes_of, plant
from exporter.programs.preimages import IDENTITY, Chain
from exporter.programs.program import Columns, Join, Node, Operation, Program, Row, Trees, moved, pruned
from exporter.programs.pruning import without_dead_nodes

Places = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A column of a vector: (place, column).
Source: TypeAlias = tuple[int, int]

# Beyond so many categories a node's table would be larger than the operations that it replaces.
MAX_CATEGORIES: Final = 4096


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where the numbers of a column come from: a column that is not taken apart, through a chain."""

    source: Source
    chain: Chain


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """New tests of some nodes, all of one column.

    Attributes:
        places: ``(n,)``: the nodes.
        source: the column that they look at now.
        tests: by node, or None for a comparison with its threshold.
        is_swapped: ``(n,)``: whether their children change places.
    """

    places: Places
    source: Source
    threshold: Float32s
    tests: tuple[CategoryTest | None, ...]
    missing_left: Bools
    is_swapped: Bools


def fold_into_thresholds(program: Program, categories: Mapping[int, int] | None = None) -> Program:
    """Return a program that answers the same, whose trees look at the row itself wherever they can.

    Args:
        program: as read from a model.
        categories: features of the row that hold indices of categories, with the number of categories.
    """
    domains = {(0, feature): n for feature, n in (categories or {}).items() if 0 < n <= MAX_CATEGORIES}
    origins = _origins(program)
    nodes: list[Node] = []
    places: dict[int, int] = {}
    for old, node in enumerate(program.nodes):
        operation = node.operation
        if isinstance(operation, Trees):
            nodes_before = nodes_of(operation.ensemble)
            changes = tuple(_changes(nodes_before, operation.of, origins[operation.of], domains))
            changed, sources = _changed(nodes_before, changes)
            of, columns = _gather(nodes, sources, places, node)
            operation = Trees(of, _planted(changed, columns, nodes[of].width, operation.ensemble))
        else:
            operation = moved(operation, places)
        places[old] = len(nodes)
        nodes.append(replace(node, operation=operation))
    return pruned(Program(tuple(nodes), places[program.output]))


def _origins(program: Program) -> list[tuple[_Origin, ...]]:
    """Return where each column of each vector comes from."""
    origins: list[tuple[_Origin, ...]] = []
    for place, node in enumerate(program.nodes):
        match node.operation:
            case Columns(of, columns):
                origins.append(tuple(origins[of][column] for column in columns))
            case Join(of):
                origins.append(tuple(origin for source in of for origin in origins[source]))
            case operation:
                found = (_origin(operation, (place, column), node.width, origins) for column in range(node.width))
                origins.append(tuple(found))
    return origins


def _origin(operation: Operation, source: Source, width: int, origins: list[tuple[_Origin, ...]]) -> _Origin:
    if not isinstance(operation, Row) and isinstance(operation.of, int):
        before = origins[operation.of]
        # One column in and several out: one-hot. Elsewhere each column comes from its own.
        start = before[source[1] if len(before) == width else 0]
        chain = start.chain.then(operation, source[1])
        if chain is not None:
            return _Origin(start.source, chain)
    return _Origin(source, IDENTITY)


def _changes(nodes: Nodes, of: int, origins: tuple[_Origin, ...], domains: Mapping[Source, int]) -> Iterator[_Change]:
    """Yield what becomes of every node that looks at a column, column by column."""
    for column in np.unique(nodes.feature[nodes.feature != LEAF]).tolist():
        origin, places = origins[column], np.flatnonzero(nodes.feature == column)
        if not origin.chain.steps:
            yield _moved_to(nodes, places, origin.source)
        elif origin.source in domains:
            yield _by_category(nodes, places, origin, domains[origin.source])
        else:
            is_numeric = nodes.category[places] == NUMERIC
            yield from _by_comparison(nodes, places[is_numeric], origin, (of, column))
            yield _moved_to(nodes, places[~is_numeric], (of, column))


def _moved_to(nodes: Nodes, places: Places, source: Source) -> _Change:
    """Return nodes that test what they tested, of the same numbers found elsewhere."""
    tests = tuple(None if test == NUMERIC else nodes.tests[test] for test in nodes.category[places].tolist())
    is_swapped = np.zeros(len(places), dtype=bool)
    return _Change(places, source, nodes.threshold[places], tests, nodes.missing_left[places], is_swapped)


def _by_comparison(nodes: Nodes, places: Places, origin: _Origin, computed: Source) -> Iterator[_Change]:
    of_missing = float(origin.chain(np.array([np.nan], dtype=np.float32))[0])
    for missing_left in (False, True):
        chosen = places[nodes.missing_left[places] == missing_left]
        thresholds, which = np.unique(nodes.threshold[chosen], return_inverse=True)
        found = origin.chain.preimages(thresholds, missing_left=missing_left)
        is_exact = found.is_exact[which]
        folded, which = chosen[is_exact], which[is_exact]
        # What the chain makes of NaN: a number that is compared as all others, or NaN again.
        goes_left = missing_left if np.isnan(of_missing) else of_missing <= nodes.threshold[folded]
        yield _Change(
            folded,
            origin.source,
            found.boundary[which],
            (None,) * len(folded),
            np.broadcast_to(goes_left, folded.shape),
            found.is_swapped[which],
        )
        yield _moved_to(nodes, chosen[~is_exact], computed)


def _by_category(nodes: Nodes, places: Places, origin: _Origin, n_categories: int) -> _Change:
    """Return nodes that test the index of a category, by trying every index and NaN."""
    indices = np.r_[np.arange(n_categories, dtype=np.float32), np.float32(np.nan)]
    values = origin.chain(indices)
    threshold, tests = np.empty(len(places), dtype=np.float32), []
    missing_left, is_swapped = np.empty(len(places), dtype=bool), np.empty(len(places), dtype=bool)
    known: dict[tuple[float, int, bool], tuple[float, CategoryTest | None, bool, bool]] = {}
    for i, place in enumerate(places.tolist()):
        key = (float(nodes.threshold[place]), int(nodes.category[place]), bool(nodes.missing_left[place]))
        if key not in known:
            test = None if key[1] == NUMERIC else nodes.tests[key[1]]
            goes_left = np.where(np.isnan(values), key[2], _goes_left(test, key[0], values))
            known[key] = _test_of(goes_left[:-1], missing_left=bool(goes_left[-1]))
        threshold[i], found, missing_left[i], is_swapped[i] = known[key]
        tests.append(found)
    return _Change(places, origin.source, threshold, tuple(tests), missing_left, is_swapped)


def _goes_left(test: CategoryTest | None, threshold: float, values: Float32s) -> Bools:
    return values <= np.float32(threshold) if test is None else test.goes_left(values)


def _test_of(goes_left: Bools, *, missing_left: bool) -> tuple[float, CategoryTest | None, bool, bool]:
    """Return (threshold, test, missing_left, is_swapped) of a node that sends these indices left."""
    changes = np.flatnonzero(goes_left[1:] != goes_left[:-1])
    if len(changes) == 0:
        return float("inf"), None, missing_left, not goes_left[0]
    if len(changes) == 1:
        return float(changes[0]), None, missing_left, not goes_left[0]
    left, right = frozenset(np.flatnonzero(goes_left).tolist()), frozenset(np.flatnonzero(~goes_left).tolist())
    return 0.0, CategoryTest(left, right, other_left=False), missing_left, False


def _changed(nodes: Nodes, changes: tuple[_Change, ...]) -> tuple[Nodes, tuple[Source, ...]]:
    """Return the nodes with new tests, whose feature is a place in the sources returned."""
    sources = tuple(sorted({change.source for change in changes if len(change.places)}))
    feature, threshold = np.full(len(nodes.feature), LEAF), nodes.threshold.copy()
    left, right = nodes.left.copy(), nodes.right.copy()
    missing_left, category = nodes.missing_left.copy(), np.full(len(nodes.feature), NUMERIC)
    tests: dict[CategoryTest, int] = {}
    for change in changes:
        if not len(change.places):
            continue
        places, swapped = change.places, change.places[change.is_swapped]
        feature[places] = sources.index(change.source)
        threshold[places] = change.threshold
        missing_left[places] = change.missing_left ^ change.is_swapped
        left[swapped], right[swapped] = right[swapped], left[swapped]
        category[places] = [NUMERIC if test is None else tests.setdefault(test, len(tests)) for test in change.tests]
    return Nodes(
        nodes.roots, feature, threshold, left, right, missing_left, category, nodes.values, tuple(tests)
    ), sources


def _gather(
    nodes: list[Node], sources: tuple[Source, ...], places: dict[int, int], node: Node
) -> tuple[int, NDArray[np.int64]]:
    """Add what brings the sources into one vector; return its place, and the column of each source in it.

    The row always comes whole, so that a feature keeps its number.
    """
    used = sorted({place for place, _ in sources}) or [0]
    parts, columns, start = [], dict[Source, int](), 0
    for place in used:
        wanted = [column for source, column in sources if source == place]
        part, width = places[place], nodes[places[place]].width
        if len(used) > 1 and place != 0 and len(wanted) < width:
            nodes.append(replace(node, operation=Columns(part, tuple(wanted)), width=len(wanted)))
            part, width = len(nodes) - 1, len(wanted)
            columns.update(((place, column), start + i) for i, column in enumerate(wanted))
        else:
            columns.update(((place, column), start + column) for column in wanted)
        parts.append(part)
        start += width
    if len(parts) > 1:
        nodes.append(replace(node, operation=Join(tuple(parts)), width=start))
        parts = [len(nodes) - 1]
    return parts[0], np.array([columns[source] for source in sources], dtype=np.int64)


def _planted(nodes: Nodes, columns: NDArray[np.int64], width: int, before: TreeEnsemble) -> TreeEnsemble:
    # A leaf's -1 names the entry behind the last column.
    feature = np.r_[columns, LEAF][nodes.feature]
    return plant(
        without_dead_nodes(replace(nodes, feature=feature)),
        width,
        before.base,
        outputs=before.outputs.tolist(),
        divisor=before.divisor,
    )
