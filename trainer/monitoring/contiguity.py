"""Decides how far the records of one spool are stored without a hole. Pure bookkeeping, no I/O.

A record continues the stored stretch if the record sent before it (``RecordKey.previous``) lies within that stretch:
numbers that thinning dropped leave no hole, records that are still under way do.
"""

from collections.abc import Iterable

from broker.messages import RecordKey

# Records beyond a hole are in the database anyway; this bounds what a device can make us remember of them.
MAX_AHEAD = 4096


class Contiguity:
    """How far one (device, epoch) is stored.

    Attributes:
        through: every record up to this sequence is stored, or was dropped by the device itself.
    """

    __slots__ = ("_ahead", "through")

    def __init__(self, through: int = 0, ahead: Iterable[tuple[int, int]] = ()) -> None:
        """Go on from what is stored.

        Args:
            through: the stored mark.
            ahead: (sequence, previous) of stored records beyond it.
        """
        self.through = through
        self._ahead: dict[int, int] = {}
        for sequence, previous in ahead:
            self._remember(sequence, previous)
        self._advance()

    def is_known(self, sequence: int) -> bool:
        """Tell whether a record is known to be stored."""
        return sequence <= self.through or sequence in self._ahead

    def take(self, key: RecordKey) -> bool:
        """Note that a record is (about to be) stored.

        A record that is sent again may name another previous one, as thinning dropped those between: the lower counts.

        Returns:
            Whether it is new.
        """
        if key.sequence <= self.through:
            return False
        if key.previous <= self.through and not self._ahead:
            self.through = key.sequence  # the usual case: in order, no hole
            return True
        is_new = key.sequence not in self._ahead
        self._remember(key.sequence, key.previous)
        self._advance()
        return is_new

    def _remember(self, sequence: int, previous: int) -> None:
        if sequence <= self.through:
            return
        known = self._ahead.get(sequence)
        if known is not None:
            self._ahead[sequence] = min(known, previous)
        elif len(self._ahead) < MAX_AHEAD or previous <= self.through:
            self._ahead[sequence] = previous

    def _advance(self) -> None:
        """Move the mark over every record that continues it."""
        while True:
            reached = [sequence for sequence, previous in self._ahead.items() if previous <= self.through]
            if not reached:
                return
            self.through = max(self.through, *reached)
            self._ahead = {s: p for s, p in self._ahead.items() if s > self.through}
