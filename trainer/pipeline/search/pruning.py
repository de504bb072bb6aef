"""When a trial is given up before its last block: a pure decision over the qualities of blocks.

A block is answered, for the evaluation, by the trial that was best on the *other* blocks (`trainer.pipeline.training`).
Which trials get so far must not depend on that block either. So a trial is given up only when it would be without any
one of the blocks that it was judged on: then no single block decided.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

Rule = Literal["median", "wilcoxon", "none"]
Blocks = tuple[float, ...]

# Before so many trials were judged whole, nobody knows what is usual.
LEAST_TRIALS: Final = 5
# Of n pairs the least p is 2**-n: four blocks at least, after one was left away.
_SIGNIFICANT: Final = 0.1


def is_hopeless(so_far: Blocks, others: Sequence[Blocks], rule: Rule) -> bool:
    """Tell whether a trial should be given up.

    Args:
        so_far: quality of its first blocks.
        others: of each trial that was judged on all blocks, the quality of all of them.
        rule: ``median``: its mean is below the median of the others' means over the same blocks; ``wilcoxon``: it is
            worse than the best other one, block by block, by the signed-rank test of Wilcoxon (1945).
    """
    if rule == "none" or len(others) < LEAST_TRIALS or len(so_far) < 2:  # noqa: PLR2004 - one is left after one went
        return False
    mine = np.array(so_far)
    theirs = np.array([other[: len(so_far)] for other in others])
    is_worse = _is_below_median if rule == "median" else _is_significantly_worse
    return all(
        is_worse(np.delete(mine, block), np.delete(theirs, block, axis=1)) for block in range(len(so_far))
    ) and is_worse(mine, theirs)


def _is_below_median(mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> bool:
    return bool(mine.mean() < np.median(theirs.mean(axis=1)))


def _is_significantly_worse(mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> bool:
    differences = mine - theirs[int(np.argmax(theirs.mean(axis=1)))]
    if not differences.any():
        return False
    return bool(wilcoxon(differences, alternative="less", zero_method="zsplit").pvalue < _SIGNIFICANT)
