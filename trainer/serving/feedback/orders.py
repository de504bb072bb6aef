"""What a service answers to orders about bundles: which one it runs is the registry's word, not the fleet's."""

import logging
from typing import Final

from broker.messages import BundleRef, Desired, Event
from edge_agent.update.wishes import WishAnswer

logger = logging.getLogger(__name__)

_FOLLOWS: Final = "this is a prediction service, which runs what {} means in the registry; {}"


class FollowedReference:
    """Answers for updates; implements `edge_agent.orders.Updates` and `edge_agent.update.duty.UpdateDuty`.

    An order for the fleet's bundle is no failure: the service runs it as soon as the registry says so, and its status
    tells that it does. Until then the rollout waits for it, and excuses it after its patience.
    """

    def __init__(self, reference: str) -> None:
        """Take what the service follows, in words."""
        self._reference = reference
        self.shadows = self
        self._ordered: BundleRef | None = None

    def on_desired(self, desired: Desired) -> None:
        """Take the bundle that the fleet should run."""
        if desired.bundle != self._ordered:
            self._ordered = desired.bundle
            logger.info("%s is ordered: %s", desired.bundle, self._refused("promote it there, and it is followed"))

    def roll_back(self, reason: str) -> WishAnswer:
        """Refuse to go back: the registry does that."""
        logger.info("going back is refused, which was wanted because: %s", reason)
        return WishAnswer(accepted=False, reason=self._refused("roll back there: fieldloop rollback"))

    def start(self, order: Desired, rows: int) -> WishAnswer:
        """Refuse a bundle in the shadow."""
        logger.info("%s is refused as a shadow of %d rows", order.bundle, rows)
        return WishAnswer(accepted=False, reason=self._refused("shadows run on devices"))

    def end(self, reason: str) -> WishAnswer:
        """Say that there is no shadow."""
        return WishAnswer(accepted=False, reason=f"there is no shadow here, {reason}")

    def poll(self) -> None:
        """Have nothing to do: the service looks at the registry itself."""

    def events(self) -> tuple[Event, ...]:
        """Have no event that another file keeps."""
        return ()

    def events_told(self, n: int) -> None:
        """Have none to forget."""

    def stop(self) -> None:
        """Have nothing to end."""

    def _refused(self, what_to_do: str) -> str:
        return _FOLLOWS.format(self._reference, what_to_do)
