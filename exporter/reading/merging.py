"""Makes one tree ensemble of the mean of several: what decides by trees everywhere runs as one forest on a device."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import ALL_OUTPUTS, LEAF, NUMERIC, TreeEnsemble
from exporter.programs.program import ArgMax, Average, Columns, Trees
from exporter.reading.reading import Reading

_ONE: Final = 1.0


def add_mean(reading: Reading, places: Sequence[int], weights: Sequence[float] | None = None) -> int:
    """Add the weighted mean of vectors of one width; of tree ensembles over one vector, as one ensemble."""
    if len(places) == 1:
        return places[0]
    given = np.ones(len(places)) if weights is None else np.asarray(weights, dtype=np.float64)
    shares = (given / given.sum()).tolist()
    merged = _merged(reading, places, shares)
    return reading.builder.add(Average(tuple(places), tuple(shares)) if merged is None else merged)


def add_label_of_tree(reading: Reading, label: int) -> int:
    """Return a label by one tree as a tree whose leaves are labels; any other label as it is."""
    choice = reading.builder.operation(label)
    if not isinstance(choice, ArgMax):
        return label
    trees = reading.builder.operation(choice.of)
    if not isinstance(trees, Trees) or trees.ensemble.n_trees != 1 or trees.ensemble.outputs[0] != ALL_OUTPUTS:
        return label
    ensemble = trees.ensemble
    # The label is chosen among numbers in float32, as `ArgMax` chooses.
    scores = (ensemble.base + ensemble.leaves / ensemble.divisor).astype(np.float32)
    leaves = np.eye(ensemble.n_outputs)[np.argmax(scores, axis=1)]
    labels = replace(ensemble, leaves=leaves, base=np.zeros(ensemble.n_outputs), divisor=_ONE)
    return reading.builder.add(Trees(trees.of, labels))


def _merged(reading: Reading, places: Sequence[int], shares: Sequence[float]) -> Trees | None:
    """Return the mean as one ensemble, or None where a part is none, or they look at different vectors."""
    parts, sources, widths = [], set(), set()
    for place, share in zip(places, shares, strict=True):
        operation = reading.builder.operation(place)
        if not isinstance(operation, Trees):
            return None
        source, columns = operation.of, np.arange(operation.ensemble.n_features)
        taken = reading.builder.operation(source)
        if isinstance(taken, Columns):
            source, columns = taken.of, np.array(taken.places)
        parts.append((operation.ensemble, columns, share))
        sources.add(source)
        widths.add(operation.ensemble.leaves.shape[1])
    if len(sources) != 1 or len(widths) != 1:
        return None
    source = sources.pop()
    return Trees(source, _joined(parts, reading.builder.width(source)))


def _joined(parts: Sequence[tuple[TreeEnsemble, NDArray[np.int64], float]], n_features: int) -> TreeEnsemble:
    ensembles = [ensemble for ensemble, _, _ in parts]
    nodes = np.cumsum([0, *(len(ensemble.feature) for ensemble in ensembles)])[:-1].tolist()
    leaves = np.cumsum([0, *(len(ensemble.leaves) for ensemble in ensembles)])[:-1].tolist()
    tests = np.cumsum([0, *(len(ensemble.tests) for ensemble in ensembles)])[:-1].tolist()
    is_leaf = [ensemble.feature == LEAF for ensemble in ensembles]
    return TreeEnsemble(
        roots=np.concatenate([e.roots + n for e, n in zip(ensembles, nodes, strict=True)]).astype(np.int32),
        outputs=np.concatenate([e.outputs for e in ensembles]),
        feature=np.concatenate(
            [np.where(leaf, LEAF, columns[e.feature]) for (e, columns, _), leaf in zip(parts, is_leaf, strict=True)]
        ).astype(np.int32),
        threshold=np.concatenate([e.threshold for e in ensembles]),
        left=np.concatenate(
            [np.where(leaf, 0, e.left + n) for e, n, leaf in zip(ensembles, nodes, is_leaf, strict=True)]
        ).astype(np.int32),
        right=np.concatenate(
            [np.where(leaf, 0, e.right + n) for e, n, leaf in zip(ensembles, nodes, is_leaf, strict=True)]
        ).astype(np.int32),
        missing_left=np.concatenate([e.missing_left for e in ensembles]),
        category=np.concatenate(
            [np.where(e.category == NUMERIC, NUMERIC, e.category + n) for e, n in zip(ensembles, tests, strict=True)]
        ).astype(np.int32),
        leaf=np.concatenate(
            [np.where(e.leaf < 0, e.leaf, e.leaf + n) for e, n in zip(ensembles, leaves, strict=True)]
        ).astype(np.int32),
        leaves=np.concatenate([e.leaves * (share / e.divisor) for e, _, share in parts]),
        tests=tuple(test for e in ensembles for test in e.tests),
        base=np.asarray(sum(e.base * share for e, _, share in parts), dtype=np.float64),
        divisor=_ONE,
        n_features=n_features,
    )
