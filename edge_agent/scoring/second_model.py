"""The simple second model: its agreement with the first is evidence of quality that needs no labels.

Pure Python on purpose: it is small, and a device that scores without numpy must be able to run it too.
"""

from collections.abc import Sequence
from operator import mul

from edge_agent.bundle import LinearModel


class SecondModel:
    """A linear model over standardised features, with the standardisation folded into its coefficients once.

    ``b + sum(c * (x - mean) / scale)`` is ``(b - sum(c * mean / scale)) + sum((c / scale) * x)``: one product a
    feature and row, done by C through `map`.

    Attributes:
        means: ``(n_features,)``: what NaN counts as.
    """

    def __init__(self, model: LinearModel) -> None:
        self.means = model.means
        self._rows = tuple(
            (
                intercept - sum(c * m / s for c, m, s in zip(coefficients, model.means, model.scales, strict=True)),
                tuple(c / s for c, s in zip(coefficients, model.scales, strict=True)),
            )
            for coefficients, intercept in zip(model.coefficients, model.intercepts, strict=True)
        )

    @property
    def intercepts(self) -> tuple[float, ...]:
        """``(n_outputs,)``."""
        return tuple(intercept for intercept, _ in self._rows)

    @property
    def slopes(self) -> tuple[tuple[float, ...], ...]:
        """``(n_outputs, n_features)``."""
        return tuple(slopes for _, slopes in self._rows)

    def score(self, values: Sequence[float], *, has_missing: bool) -> list[float]:
        """Score one encoded row.

        Args:
            values: ``(n_features,)``; NaN counts as the feature's mean.
            has_missing: whether there may be a NaN at all; the usual row is spared the search.

        Returns:
            ``(n_outputs,)``: one score a label, or one value.
        """
        if has_missing:
            # NaN is the one number that does not equal itself.
            values = [v if v == v else m for v, m in zip(values, self.means, strict=True)]  # noqa: PLR0124
        return [intercept + sum(map(mul, slopes, values)) for intercept, slopes in self._rows]
