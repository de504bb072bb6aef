"""Step ``prepare``: which rows train, which judge: in contiguous blocks of time, of whole entities, or stratified.

Shuffled folds flatter: neighbours in time resemble each other. So rows are cut into contiguous blocks. Without rows
from the fleet the latest part of the files is held out and judges. With enough of them the fleet's rows judge: they are
what devices see now; each of their blocks is scored by a model that saw the files and the fleet's other blocks.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError
from trainer.features.table import NO_ENTITY, TrainingTable
from trainer.pipeline.artefacts import load_arrays, save_arrays
from trainer.pipeline.outcome import Facts, Outcome
from trainer.pipeline.splits import ALWAYS_TRAINS, LabelTimes, Splits
from trainer.pipeline.stratifying import strata_of, stratified_blocks, stratified_blocks_of_entities
from trainer.project.learning import TrainingSection

# Fewer fair rows of the fleet than this cannot judge a model; they are trained on, and the files judge.
MIN_FLEET_ROWS: Final = 60
_MIN_FLEET_BLOCK: Final = 20
_MIN_BLOCK: Final = 10

__all__ = ["ALWAYS_TRAINS", "MIN_FLEET_ROWS", "Splits", "load_splits", "prepare_splits", "split"]


def prepare_splits(
    table: TrainingTable,
    is_kept: NDArray[np.bool_],
    training: TrainingSection,
    folder: Path,
    *,
    label_delay_s: float = 0.0,
) -> Outcome[Splits]:
    """Give every kept row its role.

    Args:
        table: the extracted rows.
        is_kept: ``(n_rows,) bool``.
        training: of the project.
        folder: of the step.
        label_delay_s: how long after its row a label is known.

    Raises:
        DataError: too few rows for the blocks, or none whose label was known in time.
    """
    index = np.flatnonzero(is_kept)
    is_fair = table.is_fleet[is_kept] & ~table.is_chosen[is_kept]
    own = ~table.is_fleet[is_kept]
    strata = np.zeros(len(index), dtype=np.int64)
    if training.split == "stratified":
        truth = table.truth[is_kept][own]
        strata[own] = strata_of(truth, is_labels=bool(table.labels), n_blocks=training.blocks)
    splits = split(
        table.is_fleet[is_kept],
        is_fair,
        table.entity[is_kept],
        index,
        training,
        table.is_judge[is_kept],
        strata=strata,
        late=_late(table, index, label_delay_s),
    )
    _verify_trained(splits)
    late = splits.late
    save_arrays(
        folder / "splits.npz",
        {
            "index": splits.index,
            "block_of": splits.block_of,
            "is_holdout": splits.is_holdout,
            "fleet_judges": np.array(splits.fleet_judges),
            **({} if late is None else {"at": late.at, "known": late.known}),
        },
    )
    return Outcome(splits, metrics={"judged_rows": float(_judged(splits))}, facts=_facts(splits, training))


def load_splits(folder: Path) -> Splits:
    """Read what `prepare_splits` wrote."""
    arrays = load_arrays(folder / "splits.npz")
    return Splits(
        arrays["index"].astype(np.int64),
        arrays["block_of"].astype(np.int64),
        arrays["is_holdout"].astype(np.bool_),
        bool(arrays["fleet_judges"]),
        LabelTimes(arrays["at"].astype(np.float64), arrays["known"].astype(np.float64)) if "at" in arrays else None,
    )


def _late(table: TrainingTable, index: NDArray[np.int64], label_delay_s: float) -> LabelTimes | None:
    """Return when labels were known, where they come later than their rows as a rule; None where they do not.

    Labels of the fleet come when they are asked for, which says nothing of when they could have been known.
    """
    if table.times is None:
        return None
    at, known = table.times.at[index], table.times.known[index]
    known = np.where(table.is_fleet[index], at + label_delay_s, known)
    return LabelTimes(at, known) if (known > at).any() else None


def _verify_trained(splits: Splits) -> None:
    """Refuse splits of which a model would learn from nothing."""
    if splits.late is None:
        return
    judged = [splits.block_of == block for block in splits.search_blocks]
    judged += [splits.is_holdout] if splits.is_holdout.any() and not splits.fleet_judges else []
    for number, inside in enumerate(judged):
        n_rows = int(splits.trains_for(inside).sum())
        if n_rows < _MIN_BLOCK:
            raise DataError(
                f"only {n_rows} rows train a model that answers block {number + 1} of {len(judged)}: of the others the "
                "label was not known by then; give rows of a longer time, lower training.blocks, or see whether "
                "target.label_delay_s is right"
            )


def _judged(splits: Splits) -> int:
    held = int(splits.is_holdout.sum())
    return held if held and not splits.fleet_judges else int((splits.block_of != ALWAYS_TRAINS).sum())


def _facts(splits: Splits, training: TrainingSection) -> Facts:
    judged, has_held = _judged(splits), splits.is_holdout.any() and not splits.fleet_judges
    if splits.fleet_judges:
        by = f"{judged:,} rows of the fleet"
    elif not has_held:
        by = f"{judged:,} rows of entities not trained on"
    else:
        of_each = " of every label" if training.split == "stratified" else ""
        by = f"the latest {judged:,} rows{of_each}"
    unknown = int((~splits.is_holdout & ~splits.fitted).sum())
    return (
        ("blocks", str(len(splits.search_blocks))),
        ("judged by", by),
        *(
            (("labels not known by then", f"{unknown:,} rows do not train the model that is judged"),)
            if unknown
            else ()
        ),
    )


def split(
    is_fleet: NDArray[np.bool_],
    is_fair: NDArray[np.bool_],
    entity: NDArray[np.int64],
    index: NDArray[np.int64],
    training: TrainingSection,
    is_judge: NDArray[np.bool_] | None = None,
    *,
    strata: NDArray[np.int64] | None = None,
    late: LabelTimes | None = None,
) -> Splits:
    """Decide the roles from counts, order, entities and strata alone.

    Args:
        is_fleet: ``(n,) bool``: rows of the fleet.
        is_fair: ``(n,) bool``: those of them that were not chosen for being hard: only they can judge.
        entity: ``(n,) int64``.
        index: ``(n,) int64``: the rows' places in the table.
        training: of the project.
        is_judge: ``(n,) bool``: rows of the files that are never trained on, and judge as long as the fleet does not.
        strata: ``(n,) int64``: labels, or levels of values, of which each block has about the same share, where the
            project splits so.
        late: when labels were known.

    Raises:
        DataError: too few rows, entities, or rows of a label.
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
        return Splits(index, block_of, is_holdout, fleet_judges=True, late=late)
    own = np.flatnonzero(~is_fleet & ~judges)
    is_stratified = training.split == "stratified"
    levels = np.zeros(len(index), dtype=np.int64) if strata is None else strata
    if judges.any():
        if len(own) < training.blocks * _MIN_BLOCK:
            raise DataError(f"{len(own)} rows are too few for {training.blocks} blocks: give {_MIN_BLOCK} for each")
        if is_stratified:
            block_of[own] = stratified_blocks(levels[own], training.blocks, 0.0)
        else:
            block_of[own] = _contiguous(len(own), training.blocks)
        block_of[judges] = training.blocks
        return Splits(index, block_of, is_holdout, fleet_judges=False, late=late)
    if training.split == "entity":
        block_of[own] = _blocks_of_entities(entity[own], training.blocks)
        return Splits(index, block_of, is_holdout, fleet_judges=False)
    if is_stratified and (entity[own] != NO_ENTITY).any():
        block_of[own] = stratified_blocks_of_entities(levels[own], entity[own], training.blocks)
        return Splits(index, block_of, is_holdout, fleet_judges=False)
    n_search = round(len(own) * (1 - training.holdout))
    if n_search < training.blocks * _MIN_BLOCK or len(own) - n_search < _MIN_BLOCK:
        least = max(training.blocks * _MIN_BLOCK / (1 - training.holdout), _MIN_BLOCK / training.holdout)
        msg = (
            f"{len(own)} rows are too few for {training.blocks} blocks and a hold-out of {training.holdout:.0%}: "
            f"give at least {int(least) + 1} rows"
        )
        raise DataError(msg)
    if is_stratified:
        block_of[own] = stratified_blocks(levels[own], training.blocks, training.holdout)
        is_holdout[own] = block_of[own] == training.blocks
        return Splits(index, block_of, is_holdout, fleet_judges=False)
    block_of[own[:n_search]] = _contiguous(n_search, training.blocks)
    block_of[own[n_search:]] = training.blocks
    is_holdout[own[n_search:]] = True
    return Splits(index, block_of, is_holdout, fleet_judges=False, late=late)


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
