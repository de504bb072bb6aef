"""Reads clusterings that give a row to its nearest centre; the first of equally near ones."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AffinityPropagation, Birch, BisectingKMeans, KMeans, MeanShift, MiniBatchKMeans

from exporter.programs.ensemble import ALL_OUTPUTS, LEAF, NUMERIC, TreeEnsemble
from exporter.programs.program import ArgMax, Curve, Linear, Scale, Trees
from exporter.reading.projecting import add_distances
from exporter.reading.reading import Readers, Reading

Floats = NDArray[np.float64]


def add_nearest(reading: Reading, place: int, centres: Floats) -> int:
    """Add 1 for the nearest of ``centres (m, w)``, else 0.

    The nearest has the greatest ``x·c - |c|² / 2``. Rows are taken from the centres' mean first: far from zero the
    products would leave no digits for the difference.
    """
    exact = np.asarray(centres, dtype=np.float64)
    middle = exact.mean(axis=0)
    shifted = reading.builder.add(Scale(place, middle, np.ones(len(middle))))
    around = exact - middle
    scores = reading.builder.add(Linear(shifted, around.T, -np.square(around).sum(axis=1) / 2))
    return reading.builder.add(ArgMax(scores))


def _cluster(reading: Reading, model: Any, place: int) -> int:
    return add_nearest(reading, place, model.cluster_centers_)


def _distances(reading: Reading, model: Any, place: int) -> int:
    return reading.builder.add(Curve(add_distances(reading, place, np.asarray(model.cluster_centers_)), "sqrt"))


def _subcluster(reading: Reading, model: Any, place: int) -> int:
    nearest = add_nearest(reading, place, model.subcluster_centers_)
    n_clusters = int(model.subcluster_labels_.max()) + 1
    members = np.eye(n_clusters)[model.subcluster_labels_]
    return reading.builder.add(Linear(nearest, members, np.zeros(n_clusters)))


def _subcluster_distances(reading: Reading, model: Any, place: int) -> int:
    return reading.builder.add(Curve(add_distances(reading, place, np.asarray(model.subcluster_centers_)), "sqrt"))


def _bisecting(reading: Reading, model: Any, place: int) -> int:
    """Read a tree of centres: at each node a row goes to the nearer of two; a tie goes left."""
    nodes = list(_walk(model._bisecting_tree))
    if len(nodes) == 1:
        return reading.builder.add(Linear(place, np.zeros((reading.builder.width(place), 1)), np.ones(1)))
    shift = getattr(model, "_X_mean", 0.0)
    splits = [node for node in nodes if node.left is not None]
    centres = [(node.left.center + shift, node.right.center + shift) for node in splits]
    middle = np.mean([centre for pair in centres for centre in pair], axis=0)
    left, right = (np.array([pair[side] for pair in centres]) - middle for side in (0, 1))
    bias = (np.square(left).sum(axis=1) - np.square(right).sum(axis=1)) / 2
    shifted = reading.builder.add(Scale(place, middle, np.ones(len(middle))))
    nearer = reading.builder.add(Linear(shifted, (right - left).T, bias))  # above 0: right
    return reading.builder.add(Trees(nearer, _tree_of(nodes, model.n_clusters)))


def _walk(node: Any) -> Iterator[Any]:
    yield node
    if node.left is not None:
        yield from _walk(node.left)
        yield from _walk(node.right)


def _tree_of(nodes: list[Any], n_clusters: int) -> TreeEnsemble:
    place_of = {id(node): i for i, node in enumerate(nodes)}
    is_leaf = np.array([node.left is None for node in nodes])
    n_splits = int(np.sum(~is_leaf))
    return TreeEnsemble(
        roots=np.zeros(1, dtype=np.int32),
        outputs=np.full(1, ALL_OUTPUTS, dtype=np.int32),
        feature=np.where(is_leaf, LEAF, np.cumsum(~is_leaf) - 1).astype(np.int32),
        threshold=np.zeros(len(nodes), dtype=np.float32),
        left=np.array([0 if node.left is None else place_of[id(node.left)] for node in nodes], dtype=np.int32),
        right=np.array([0 if node.left is None else place_of[id(node.right)] for node in nodes], dtype=np.int32),
        missing_left=np.zeros(len(nodes), dtype=np.bool_),
        category=np.full(len(nodes), NUMERIC, dtype=np.int32),
        leaf=np.array([node.label if node.left is None else -1 for node in nodes], dtype=np.int32),
        leaves=np.eye(n_clusters),
        tests=(),
        base=np.zeros(n_clusters),
        divisor=1.0,
        n_features=n_splits,
    )


READERS: Final[Readers] = {
    KMeans: {"cluster": _cluster, "transform": _distances},
    MiniBatchKMeans: {"cluster": _cluster, "transform": _distances},
    BisectingKMeans: {"cluster": _bisecting, "transform": _distances},
    AffinityPropagation: {"cluster": _cluster},
    MeanShift: {"cluster": _cluster},
    Birch: {"cluster": _subcluster, "transform": _subcluster_distances},
}
