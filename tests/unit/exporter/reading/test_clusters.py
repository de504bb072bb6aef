import numpy as np
import pytest
from sklearn.cluster import AffinityPropagation, Birch, BisectingKMeans, KMeans, MeanShift, MiniBatchKMeans
from sklearn.datasets import make_blobs

from tests.unit.exporter.reading.exactness import assert_exact

ROWS = make_blobs(300, 3, centers=6, cluster_std=2.5, random_state=0)[0].astype(np.float32)
# Far from zero, where products of large numbers leave no digits for a difference.
FAR = (ROWS + np.array([5000, -20000, 300], dtype=np.float32)).astype(np.float32)


@pytest.mark.parametrize("rows", [ROWS, FAR], ids=["near", "far"])
@pytest.mark.parametrize(
    "clustering",
    [
        KMeans(6, random_state=0),
        MiniBatchKMeans(6, random_state=0),
        BisectingKMeans(7, random_state=0),
        BisectingKMeans(7, random_state=0, bisecting_strategy="largest_cluster"),
        BisectingKMeans(1, random_state=0),
        MeanShift(bandwidth=4),
        AffinityPropagation(random_state=0, damping=0.9),
        Birch(n_clusters=4),
    ],
    ids=repr,
)
def test_a_row_belongs_to_the_cluster_that_predict_names(clustering, rows):
    asked = np.concatenate([rows, rows + np.float32(1.5)])
    exact = asked.astype(np.float64)
    assert_exact(clustering.fit(rows.astype(np.float64)), asked, "cluster", tolerance=0, original=exact)


@pytest.mark.parametrize(
    "clustering", [KMeans(4, random_state=0), Birch(n_clusters=None), BisectingKMeans(3)], ids=repr
)
def test_distances_to_the_centres_are_read(clustering):
    assert_exact(clustering.fit(ROWS), ROWS, tolerance=1e-4)


def test_the_first_of_equally_near_centres_is_chosen():
    clustering = KMeans(2, n_init=1, init=np.array([[0.0], [4.0]])).fit(np.array([[0.0], [4.0]]))
    assert_exact(clustering, np.array([[2.0], [1.5], [2.5]]), "cluster", original=np.array([[2.0], [1.5], [2.5]]))
