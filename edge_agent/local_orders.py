"""Carries out what a person at the device asks of the running agent (`edge_agent.mailbox`)."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from broker.messages import BundleRef, Desired
from edge_agent.clock import Clock
from edge_agent.mailbox import Ask, DiagnoseAsk, InstallAsk, LocalAnswer, RollBackAsk, leave_answer, take_asks
from edge_agent.update.wishes import WishAnswer

logger = logging.getLogger(__name__)


class CarriedUpdates(Protocol):
    """Takes orders about bundles, and update files."""

    def on_carried(self, desired: Desired, carried: str) -> None:
        """Take an order that came with an update file in the inbox."""

    def roll_back(self, reason: str) -> WishAnswer:
        """Go back to the bundle before."""
        ...


class LocalOrders:
    """One device's inbox for people at the device; used by the housekeeping thread."""

    def __init__(self, state: Path, *, updates: CarriedUpdates, diagnose: Callable[[], str], clock: Clock) -> None:
        """Join the parts.

        Args:
            state: the state folder.
            updates: takes orders about bundles.
            diagnose: tells what the agent knows of itself, as JSON.
            clock: UTC, for orders.
        """
        self._state = state
        self._updates = updates
        self._diagnose = diagnose
        self._clock = clock

    def poll(self) -> None:
        """Carry out what was asked since the last time.

        Raises:
            OSError: an answer cannot be left; what was asked was done.
        """
        for ask_id, ask in take_asks(self._state):
            logger.info("asked at the device (%s): %s", ask_id, type(ask).__name__)
            leave_answer(self._state, ask_id, self._carry_out(ask_id, ask))

    def _carry_out(self, ask_id: str, ask: Ask) -> LocalAnswer:
        match ask:
            case RollBackAsk():
                try:
                    answer = self._updates.roll_back(f"{ask.reason} (by {ask.by}, at the device)")
                except OSError as error:
                    return LocalAnswer(accepted=False, reason=f"it cannot be written down: {error}")
                return LocalAnswer(answer.accepted, answer.reason)
            case InstallAsk():
                self._updates.on_carried(order_of(ask_id, ask, self._clock), ask_id)
                return LocalAnswer(accepted=True)
            case DiagnoseAsk():
                return LocalAnswer(accepted=True, report=self._diagnose())


def order_of(ask_id: str, ask: InstallAsk, clock: Clock) -> Desired:
    """Return the order that an ask to install amounts to; it has the ask's id."""
    bundle = BundleRef(ask.name, ask.version)
    return Desired(bundle, ask_id, clock.utc_s(), ask.by[:128], f"installed by hand from {ask.file}")
