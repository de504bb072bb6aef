"""Which rows of a data file each device replays."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from trainer.errors import DataError


@dataclass(frozen=True, slots=True)
class Share:
    """Data rows ``first_row, first_row + step, …`` below ``end_row``."""

    first_row: int
    end_row: int
    step: int

    @property
    def rows(self) -> range:
        """The row numbers, in the order in which they are scored."""
        return range(self.first_row, self.end_row, self.step)


def every_nth(first_row: int, end_row: int, n_devices: int) -> tuple[Share, ...]:
    """Deal rows out in turn: device i of n gets every n-th row; raise DataError when there are not enough."""
    if end_row - first_row < n_devices:
        msg = f"{end_row - first_row} rows are left after training: not one for each of {n_devices} devices"
        raise DataError(msg)
    return tuple(Share(first_row + index, end_row, n_devices) for index in range(n_devices))


def blocks(starts: Sequence[int], n_devices: int) -> tuple[Share, ...]:
    """Give each device one contiguous block; ``starts`` ends with the end of the last block."""
    shares = tuple(Share(start, end, 1) for start, end in pairwise(starts))
    if n_devices > len(shares):
        msg = f"there are {len(shares)} blocks of rows, not one for each of {n_devices} devices"
        raise DataError(msg)
    return shares[:n_devices]
