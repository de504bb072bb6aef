"""What housekeeping asks of whatever decides which bundle scores here."""

from typing import Protocol

from broker.messages import Event


class UpdateDuty(Protocol):
    """Is called by the housekeeping thread alone; implemented by `edge_agent.update.updater.Updater`."""

    def poll(self) -> None:
        """Do what can be done now without waiting; raise OSError where the disk refuses."""
        ...

    def events(self) -> tuple[Event, ...]:
        """Return the events that wait to be told, oldest first."""
        ...

    def events_told(self, n: int) -> None:
        """Forget the n oldest events: they are in the spool."""
        ...

    def stop(self) -> None:
        """End what is under way."""
        ...
