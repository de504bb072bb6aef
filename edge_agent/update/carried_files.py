"""Removes the update files in the inbox that no order needs any more."""

from pathlib import Path

from edge_agent.mailbox import remove_update, sweep_inbox


class CarriedFiles:
    """The update files of one device; used by one thread."""

    def __init__(self, state: Path) -> None:
        """Need none; ``state`` is the state folder."""
        self._state = state
        self._needed: frozenset[str] = frozenset()

    def begin_with(self, needed: frozenset[str]) -> None:
        """At a start: remove whatever lies there, but for what is needed or asked for."""
        self._needed = needed
        sweep_inbox(self._state, keep=needed)

    def keep(self, needed: frozenset[str]) -> None:
        """Remove what was needed before and is no longer; what somebody is bringing just now is not touched."""
        for ask_id in self._needed - needed:
            remove_update(self._state, ask_id)
        self._needed = needed
