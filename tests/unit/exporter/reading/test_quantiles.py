import numpy as np
import pytest
from sklearn.preprocessing import QuantileTransformer

from exporter.errors import UnsupportedError
from tests.unit.exporter.reading.exactness import assert_exact, program_of

RNG = np.random.default_rng(11)
# A column of many numbers, one of few, one of a number that half of the rows have, and a constant one.
TRAINED = np.stack(
    [
        RNG.normal(size=300),
        RNG.integers(0, 4, 300) / 10,
        np.where(RNG.random(300) < 0.5, 0.3, RNG.random(300)),
        [7] * 300,
    ],
    axis=1,
)


@pytest.mark.parametrize("n_quantiles", [2, 10, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_get_their_place_on_between_and_next_to_quantiles_and_outside(n_quantiles, dtype):
    transformer = QuantileTransformer(n_quantiles=n_quantiles).fit(TRAINED.astype(dtype))
    rows = np.concatenate([TRAINED, transformer.quantiles_, TRAINED * 3 - 5]).astype(np.float32)
    near = [np.nextafter(rows, np.float32(end)) for end in (-np.inf, np.inf)]
    gaps = np.where(RNG.random(rows.shape) < 0.2, np.nan, rows)
    assert_exact(transformer, np.concatenate([rows, *near, gaps]), tolerance=1e-6)


def test_another_distribution_is_refused():
    normal = QuantileTransformer(n_quantiles=10, output_distribution="normal").fit(TRAINED)
    with pytest.raises(UnsupportedError, match="QuantileTransformer to a normal distribution is not supported"):
        program_of(normal, TRAINED)
