"""The role of every kept row: in which block it judges, and which models it may train."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ALWAYS_TRAINS: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class LabelTimes:
    """When rows were and their labels known, ``(n,) float64`` each, NaN where that is not known."""

    at: NDArray[np.float64]
    known: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """The role of every kept row.

    Attributes:
        index: ``(n,) int64``: the kept rows' places in the table, in the order of time.
        block_of: ``(n,) int64``: the block in which a row is predicted by a model that did not see it;
            `ALWAYS_TRAINS` for rows that every model sees.
        is_holdout: ``(n,) bool``: never seen in the search; the last block.
        fleet_judges: whether the fleet's rows are the judged ones.
        late: when labels were known, where they are known later than their rows; None: each with its row.
    """

    index: NDArray[np.int64]
    block_of: NDArray[np.int64]
    is_holdout: NDArray[np.bool_]
    fleet_judges: bool
    late: LabelTimes | None = None

    @property
    def search_blocks(self) -> tuple[int, ...]:
        """The blocks that the search predicts."""
        return tuple(int(b) for b in np.unique(self.block_of[~self.is_holdout]) if b != ALWAYS_TRAINS)

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """The rows that the model is fitted on, ``(n,) bool``."""
        judges = self.is_holdout.any() and not self.fleet_judges
        return self.trains_for(self.is_holdout) if judges else ~self.is_holdout

    def trains_for(self, judged: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the rows that may train a model which answers the judged ones, ``(n,) bool``.

        Neither these nor what is held out; no row before them whose label was not known when the first of them was; and
        none after them that was there before their own labels were known: what becomes of neighbours overlaps (de
        Prado, Advances in Financial Machine Learning, 2018: purging and embargo).
        """
        may: NDArray[np.bool_] = ~judged & ~self.is_holdout
        if self.late is None or not np.isfinite(self.late.at[judged]).any():
            return may
        at, known = self.late.at, self.late.known
        first, last = np.nanmin(at[judged]), np.nanmax(at[judged])
        is_unknown = (at < first) & (known > first)
        overlaps = (at > last) & (at < np.nanmax(known[judged]))
        return may & ~is_unknown & ~overlaps
