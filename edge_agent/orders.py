"""Reads what the trainer and the monitor say to this device, and answers commands, each once."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from broker.client import Delivery
from broker.errors import WireError
from broker.messages import (
    AskLabels,
    Command,
    Desired,
    Diagnose,
    Event,
    Reply,
    ReportStatus,
    RollBack,
    ScoreRow,
    StartShadow,
    StopShadow,
    Stored,
    parse_as,
)
from broker.topics import Channel
from edge_agent.clock import Clock
from edge_agent.update.wishes import WishAnswer

logger = logging.getLogger(__name__)

MAX_REMEMBERED: Final = 512
# A message that cannot be read is told at most so often: a broker may repeat it at every connect.
TELL_AGAIN_S: Final = 300.0


class Scoring(Protocol):
    """Carries out orders between two rows; the answers come through the handover."""

    def ask(self, command_id: str, order: AskLabels | ScoreRow) -> None:
        """Take an order."""


class ShadowUpdates(Protocol):
    """Takes orders about a bundle in the shadow."""

    def start(self, order: Desired, rows: int) -> WishAnswer:
        """Have a bundle score in the shadow, for so many rows (0: without end)."""
        ...

    def end(self, reason: str) -> WishAnswer:
        """Have no bundle score in the shadow."""
        ...


class Updates(Protocol):
    """Takes orders about bundles."""

    @property
    def shadows(self) -> ShadowUpdates:
        """Takes those about a bundle in the shadow."""
        ...

    def on_desired(self, desired: Desired) -> None:
        """Take the bundle that this device should run."""

    def roll_back(self, reason: str) -> WishAnswer:
        """Go back to the bundle before."""
        ...


class Orders:
    """One device's inbox; used by the housekeeping thread."""

    def __init__(
        self,
        *,
        scoring: Scoring,
        updates: Updates,
        on_stored: Callable[[Stored], None],
        report_status: Callable[[], None],
        diagnose: Callable[[], str],
        reply: Callable[[Reply], None],
        tell: Callable[[Event], None],
        clock: Clock,
    ) -> None:
        """Join the parts.

        Args:
            scoring: scores a row on demand, chooses rows for labels.
            updates: takes orders about bundles.
            on_stored: takes the monitor's marks.
            report_status: publishes the status.
            diagnose: tells what the agent knows of itself, as JSON.
            reply: sends a reply.
            tell: reports an event.
            clock: UTC for expiry, monotonic for pauses.
        """
        self._scoring = scoring
        self._updates = updates
        self._on_stored = on_stored
        self._report_status = report_status
        self._diagnose = diagnose
        self._reply = reply
        self._tell = tell
        self._clock = clock
        # The broker may deliver a command twice; the oldest ids are forgotten.
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._told_s: dict[tuple[Channel, str], float] = {}
        self.refused_messages = 0

    def on_delivery(self, delivery: Delivery) -> None:
        """Read one message and do what it says."""
        channel = delivery.topic.channel
        try:
            match channel:
                case Channel.DESIRED:
                    self._updates.on_desired(parse_as(Desired, channel, delivery.payload))
                case Channel.STORED:
                    self._on_stored(parse_as(Stored, channel, delivery.payload))
                case Channel.COMMAND:
                    self._carry_out(parse_as(Command, channel, delivery.payload))
                case _:
                    logger.debug("%s is not for devices", delivery.topic)
        except WireError as error:
            self._refuse(channel, error)

    def _carry_out(self, command: Command) -> None:
        if command.command_id in self._seen:
            logger.debug("command %s came again", command.command_id)
            return
        self._seen[command.command_id] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        if self._clock.utc_s() > command.expires_utc_s:
            logger.info("command %s by %s has expired and is ignored", command.command_id, command.by)
            return
        order = command.order
        logger.info("command %s by %s: %s", command.command_id, command.by, type(order).__name__)
        match order:
            case AskLabels() | ScoreRow():
                self._scoring.ask(command.command_id, order)
            case RollBack():
                reason = f"{order.reason} (by {command.by})"
                self._reply_to(command, lambda: self._updates.roll_back(reason))
            case StartShadow():
                desired = Desired(order.bundle, command.command_id, self._clock.utc_s(), command.by)
                self._reply_to(command, lambda: self._updates.shadows.start(desired, order.rows))
            case StopShadow():
                self._reply_to(command, lambda: self._updates.shadows.end(f"ordered by {command.by}"))
            case ReportStatus():
                self._report_status()
                self._reply(Reply(command.command_id, accepted=True))
            case Diagnose():
                self._reply(Reply(command.command_id, accepted=True, report=self._diagnose()))

    def _reply_to(self, command: Command, act: Callable[[], WishAnswer]) -> None:
        try:
            answer = act()
        except OSError as error:
            answer = WishAnswer(accepted=False, reason=f"it cannot be written down: {error}")
        self._reply(Reply(command.command_id, answer.accepted, answer.reason))

    def _refuse(self, channel: Channel, error: WireError) -> None:
        self.refused_messages += 1
        logger.warning("message refused: %s", error)
        key, now_s = (channel, type(error).__name__), self._clock.monotonic_s()
        told_s = self._told_s.get(key)
        if told_s is not None and now_s - told_s < TELL_AGAIN_S:
            return
        self._told_s[key] = now_s
        self._tell(Event("error", self._clock.utc_s(), "error", f"message refused: {error}"[:2048]))
