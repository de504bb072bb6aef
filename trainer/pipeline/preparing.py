"""Step ``prepare``: which rows train, which judge, in contiguous blocks of time.

Shuffled folds flatter: neighbours in time resemble each other. So rows are cut into contiguous blocks. Without rows
from the fleet the latest part of the files is held out and judges. With enough of them the fleet's rows judge: they are
what devices see now; each of their blocks is scored by a model that saw the files and the fleet's other blocks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError
from trainer.features.table import TrainingTable
from trainer.pipeline.artefacts import load_arrays, save_arrays
from trainer.pipeline.outcome import Outcome
from trainer.project.learning import TrainingSection

# Fewer fair rows of the fleet than this cannot judge a model; they are trained on, and the files judge.
MIN_FLEET_ROWS: Final = 60
_MIN_FLEET_BLOCK: Final = 20
_MIN_BLOCK: Final = 10
ALWAYS_TRAINS: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """The role of every kept row.

    Attributes:
        index: ``(n,) int64``: the kept rows' places in the table, in the order of time.
        block_of: ``(n,) int64``: the block in which a row is predicted by a model that did not see it;
            `ALWAYS_TRAINS` for rows that every model sees.
        is_holdout: ``(n,) bool``: never seen in the search; the last block.
        fleet_judges: whether the fleet's rows are the judged ones.
    """

    index: NDArray[np.int64]
    block_of: NDArray[np.int64]
    is_holdout: NDArray[np.bool_]
    fleet_judges: bool

    @property
    def search_blocks(self) -> tuple[int, ...]:
        """The blocks that the search predicts."""
        return tuple(int(b) for b in np.unique(self.block_of[~self.is_holdout]) if b != ALWAYS_TRAINS)


def prepare_splits(
    table: TrainingTable, is_kept: NDArray[np.bool_], training: TrainingSection, folder: Path
) -> Outcome[Splits]:
    """Give every kept row its role.

    Raises:
        DataError: too few rows for the blocks.
    """
    is_fair = table.is_fleet[is_kept] & ~table.is_chosen[is_kept]
    splits = split(
        table.is_fleet[is_kept],
        is_fair,
        table.entity[is_kept],
        np.flatnonzero(is_kept),
        training,
        table.is_judge[is_kept],
    )
    save_arrays(
        folder / "splits.npz",
        {
            "index": splits.index,
            "block_of": splits.block_of,
            "is_holdout": splits.is_holdout,
            "fleet_judges": np.array(splits.fleet_judges),
        },
    )
    held = int(splits.is_holdout.sum())
    has_held = held > 0 and not splits.fleet_judges
    judged = held if has_held else int((splits.block_of != ALWAYS_TRAINS).sum())
    by = f"{judged:,} rows of the fleet" if splits.fleet_judges else f"{judged:,} rows of entities not trained on"
    facts = (
        ("blocks", str(len(splits.search_blocks))),
        ("judged by", f"the latest {judged:,} rows" if has_held else by),
    )
    return Outcome(splits, metrics={"judged_rows": float(judged)}, facts=facts)


def load_splits(folder: Path) -> Splits:
    """Read what `prepare_splits` wrote."""
    arrays = load_arrays(folder / "splits.npz")
    return Splits(
        arrays["index"].astype(np.int64),
        arrays["block_of"].astype(np.int64),
        arrays["is_holdout"].astype(np.bool_),
        bool(arrays["fleet_judges"]),
    )


def split(
    is_fleet: NDArray[np.bool_],
    is_fair: NDArray[np.bool_],
    entity: NDArray[np.int64],
    index: NDArray[np.int64],
    training: TrainingSection,
    is_judge: NDArray[np.bool_] | None = None,
) -> Splits:
    """Decide the roles from counts, order and entities alone.

    Args:
        is_fleet: ``(n,) bool``: rows of the fleet.
        is_fair: ``(n,) bool``: those of them that were not chosen for being hard: only they can judge.
        entity: ``(n,) int64``.
        index: ``(n,) int64``: the rows' places in the table.
        training: of the project.
        is_judge: ``(n,) bool``: rows of the files that are never trained on, and judge as long as the fleet does not.
    """
    judges = np.zeros(len(index), dtype=np.bool_) if is_judge is None else is_judge
    n_fair = int(is_fair.sum())
    block_of = np.full(len(index), ALWAYS_TRAINS, dtype=np.int64)
    is_holdout = judges.copy()
    if n_fair >= MIN_FLEET_ROWS:
        n_blocks = max(2, min(training.blocks, n_fair // _MIN_FLEET_BLOCK))
        # Cut by fair rows, so that each block has some; a chosen row goes with the fair rows before it.
        fair_before = np.maximum(np.cumsum(is_fair[is_fleet]) - 1, 0)
        block_of[is_fleet] = _contiguous(n_fair, n_blocks)[fair_before]
        return Splits(index, block_of, is_holdout, fleet_judges=True)
    own = np.flatnonzero(~is_fleet & ~judges)
    if judges.any():
        if len(own) < training.blocks * _MIN_BLOCK:
            raise DataError(f"{len(own)} rows are too few for {training.blocks} blocks: give {_MIN_BLOCK} for each")
        block_of[own] = _contiguous(len(own), training.blocks)
        block_of[judges] = training.blocks
        return Splits(index, block_of, is_holdout, fleet_judges=False)
    if training.split == "entity":
        block_of[own] = _blocks_of_entities(entity[own], training.blocks)
        return Splits(index, block_of, is_holdout, fleet_judges=False)
    n_search = round(len(own) * (1 - training.holdout))
    if n_search < training.blocks * _MIN_BLOCK or len(own) - n_search < _MIN_BLOCK:
        least = max(training.blocks * _MIN_BLOCK / (1 - training.holdout), _MIN_BLOCK / training.holdout)
        msg = (
            f"{len(own)} rows are too few for {training.blocks} blocks and a hold-out of {training.holdout:.0%}: "
            f"give at least {int(least) + 1} rows"
        )
        raise DataError(msg)
    block_of[own[:n_search]] = _contiguous(n_search, training.blocks)
    block_of[own[n_search:]] = training.blocks
    is_holdout[own[n_search:]] = True
    return Splits(index, block_of, is_holdout, fleet_judges=False)


def _blocks_of_entities(entity: NDArray[np.int64], n_blocks: int) -> NDArray[np.int64]:
    """Put whole entities together into blocks of about the same number of rows."""
    entities, counts = np.unique(entity, return_counts=True)
    if len(entities) < 2:  # noqa: PLR2004 - one trains, one judges
        raise DataError("key 'training.split': 'entity' needs rows of at least two entities; take 'time' or more rows")
    middle = np.cumsum(counts) - counts / 2
    block_of_entity = np.minimum((middle * min(n_blocks, len(entities)) / counts.sum()).astype(np.int64), n_blocks - 1)
    # Empty numbers between would be blocks without rows.
    _, dense = np.unique(block_of_entity, return_inverse=True)
    return dense[np.searchsorted(entities, entity)].astype(np.int64)


def _contiguous(n_rows: int, n_blocks: int) -> NDArray[np.int64]:
    return np.arange(n_rows, dtype=np.int64) * n_blocks // n_rows
