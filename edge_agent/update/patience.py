"""Says whether fetching that came to no end is worth another attempt; one that got further always is."""

from pathlib import Path
from typing import Final

from edge_agent.update.partial import kept_bytes

MAX_TIMEOUTS: Final = 3


class Patience:
    """With one order; used by one thread."""

    def __init__(self, metadata: Path) -> None:
        """Begin with all of it.

        Args:
            metadata: folder of the update metadata, below which the beginnings of downloads lie.
        """
        self._metadata = metadata
        self._timeouts = 0
        # How much of a download lay there when it was cut off last.
        self._kept_bytes = 0

    def has_more(self) -> bool:
        """Count an attempt that came to no end; return whether there may be another one."""
        kept = kept_bytes(self._metadata)
        self._timeouts = 0 if kept > self._kept_bytes else self._timeouts + 1
        self._kept_bytes = kept
        return self._timeouts < MAX_TIMEOUTS

    def renew(self) -> None:
        """Begin anew: there is another order."""
        self._timeouts = self._kept_bytes = 0
