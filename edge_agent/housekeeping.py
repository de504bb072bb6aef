"""Everything that may wait: disk, network, updates. One thread, which does a little of each, again and again.

Each duty may fail without the others noticing: a full disk does not keep an update from being rolled back, a broker
that is gone does not keep windows from becoming durable. What keeps failing is told once; a duty that ends in a
surprise rests for a while, longer each time.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from broker.client import Delivery
from broker.errors import BrokerError
from broker.messages import Event, Facts, Reply, Status, Stored, encode
from broker.topics import RULES, Channel
from edge_agent.clock import Clock
from edge_agent.errors import AgentError
from edge_agent.handover import Answer, Handover
from edge_agent.live import Live
from edge_agent.recorder import Recorder
from edge_agent.surprises import Surprises
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.update.duty import UpdateDuty

logger = logging.getLogger(__name__)

TICK_S: Final = 0.1
LIVE_EVERY_S: Final = 2.0
MAX_COMMANDS: Final = 64
MAX_REPLIES: Final = 64
MAX_EVENTS: Final = 256
MAX_SENDS: Final = 16
GOODBYE_S: Final = 0.5
ORDERS: Final = "orders"
# After a surprise a duty rests so long, after each further one in a row twice as long.
REST_S: Final = 0.1
MAX_REST_S: Final = 30.0
MAX_DOUBLINGS: Final = 16


class Link(Protocol):
    """The way to the broker."""

    @property
    def is_connected(self) -> bool:
        """Whether it is open."""
        ...

    def publish(self, channel: Channel, payload: bytes) -> None:
        """Hand a payload over without waiting; raise LinkError when the link does not take it."""
        ...

    def publish_and_wait(self, channel: Channel, payload: bytes, timeout_s: float) -> None:
        """Publish, and wait for the broker's word at most so long; raise LinkError when it does not come."""
        ...


class Inbox(Protocol):
    """Reads messages and does what they say."""

    def on_delivery(self, delivery: Delivery) -> None:
        """Take one message."""


class About(Protocol):
    """What the agent knows of itself."""

    def status(self, *, is_online: bool) -> Status:
        """Return what it is now, without facts."""
        ...

    def facts(self) -> Facts:
        """Return what the device is now."""
        ...

    def live(self) -> Live:
        """Return its counters."""
        ...

    def keep_live(self, live: Live) -> None:
        """Put counters on the disk, for people at the device."""


class Housekeeping:
    """One agent's housekeeper. `on_delivery` and `on_link` may be called by any thread, `stop` by one other."""

    def __init__(
        self,
        *,
        handover: Handover,
        recorder: Recorder,
        forwarder: Forwarder,
        updater: UpdateDuty,
        link: Link,
        clock: Clock,
        about: About,
        on_round: Callable[[], None] | None = None,
    ) -> None:
        """Join the parts; the inbox is joined afterwards, because it answers through this.

        Args:
            handover: what the scoring thread hands over; its wake-up ends this thread's waits.
            recorder: makes it durable.
            forwarder: sends what is durable.
            updater: fetches, tries, commits.
            link: the way to the broker.
            clock: monotonic for pauses.
            about: what the agent knows of itself.
            on_round: called once in each round: whoever hears it knows that housekeeping does not hang.
        """
        self._handover = handover
        self._recorder = recorder
        self._forwarder = forwarder
        self._updater = updater
        self._link = link
        self._clock = clock
        self._about = about
        self._on_round = on_round
        self._inbox: Inbox | None = None
        self._more: list[tuple[str, Callable[[], None]]] = []
        self._at_end: list[tuple[str, Callable[[], None]]] = []
        # Words from the network's thread. Of a retained channel the latest message says all.
        self._latest: dict[Channel, Delivery] = {}
        self._commands: deque[Delivery] = deque()
        self._commands_dropped = 0
        self._drops_told = 0
        self._link_is_new = threading.Event()
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._replies: deque[Reply] = deque(maxlen=MAX_REPLIES)
        self._said: Status | None = None
        self._live_at_s = -LIVE_EVERY_S
        self._kept: Live | None = None
        self._failing: set[str] = set()
        self._surprises = Surprises(logger)
        # Duty: surprises in a row, and when it is tried again.
        self._rests: dict[str, tuple[int, float]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    # --- from other threads ------------------------------------------------------------------------------------------

    def also(self, duty: str, act: Callable[[], None], at_end: Callable[[], None] | None = None) -> None:
        """Have one more thing done in each round, and another one at the end; before `start`."""
        self._more.append((duty, act))
        if at_end is not None:
            self._at_end.append((duty, at_end))

    def start(self, inbox: Inbox) -> None:
        """Start the thread; ``inbox`` reads what is delivered."""
        self._inbox = inbox
        self._thread.start()

    def on_delivery(self, delivery: Delivery) -> None:
        """Take a message; the network's thread goes on at once."""
        channel = delivery.topic.channel
        if RULES[channel].retained:
            self._latest[channel] = delivery
        elif len(self._commands) < MAX_COMMANDS:
            self._commands.append(delivery)
        else:
            self._commands_dropped += 1
        self._handover.wake()

    def on_link(self, is_up: bool) -> None:  # noqa: FBT001 - the link's own word, as its listener gets it
        """Take the word that the link is up or down."""
        self._forwarder.on_link(is_up)
        if is_up:
            self._link_is_new.set()
        self._handover.wake()

    def on_stored(self, mark: Stored) -> None:
        """Take the monitor's mark."""
        self._forwarder.on_stored(mark)

    def stop(self, timeout_s: float) -> bool:
        """Finish: make durable what was handed over, say goodbye; return whether that was done in time."""
        self._stopping.set()
        self._handover.wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- from this thread --------------------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Report an event of the agent itself."""
        self._events.append(event)

    def record_now(self) -> None:
        """Make durable what was handed over until now, as far as the disk takes it; for `on_round`."""
        self._do("recording", self._record_all)

    def reply(self, reply: Reply) -> None:
        """Answer a command, as soon as there is a link."""
        self._replies.append(reply)

    def report_status(self) -> None:
        """Say the status again, though nothing changed."""
        self._said = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._do("recording", self._record):
                # It is the duty that waits for something to do. The disk is not to be asked without pause.
                self._stopping.wait(TICK_S)
            self._do(ORDERS, self._read_orders)
            for duty, act in self._more:
                self._do(duty, act)
            self._do("updating", self._updater.poll)
            self._do("events", self._record_events)
            self._do("sending", self._send)
            self._do("live counters", self._keep_live)
            if self._on_round is not None:
                self._do("service", self._on_round)
        self._rests.clear()
        # The order matters: what is durable can be sent by the next start, a goodbye cannot.
        self._do("recording", self._record_all)
        for duty, act in self._at_end:
            self._do(duty, act)
        self._do("updating", self._updater.stop)
        self._do("events", self._record_events)
        self._do("sending", self._send_the_last)
        self._do("live counters", lambda: self._about.keep_live(self._about.live()))
        self._do("goodbye", self._say_goodbye)

    def _do(self, duty: str, act: Callable[[], None]) -> bool:
        """Do one duty, and return whether it was done.

        What goes wrong with it is told once, and tried again in the next round; after a surprise, after a rest.
        """
        surprises, rests_until_s = self._rests.get(duty, (0, 0.0))
        if surprises and self._clock.monotonic_s() < rests_until_s:
            return False
        try:
            act()
        except (AgentError, BrokerError, OSError) as error:
            level = logging.DEBUG if duty in self._failing else logging.WARNING
            logger.log(level, "%s has to wait: %s", duty, error)
            self._failing.add(duty)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the other duties are done
            self._surprises.tell(duty, error)
            rest_s = min(MAX_REST_S, REST_S * 2.0 ** min(surprises, MAX_DOUBLINGS))
            self._rests[duty] = (surprises + 1, self._clock.monotonic_s() + rest_s)
        else:
            self._failing.discard(duty)
            self._rests.pop(duty, None)
            return True
        return False

    def _record(self) -> None:
        is_called = (self._latest or self._commands) and ORDERS not in self._rests
        self._reply_to(self._recorder.step(0.0 if is_called or self._stopping.is_set() else TICK_S))

    def _record_all(self) -> None:
        while self._recorder.is_behind:
            self._reply_to(self._recorder.step(0.0))

    def _reply_to(self, answers: tuple[Answer, ...]) -> None:
        for answer in answers:
            self.reply(Reply(answer.command_id, answer.accepted, answer.reason, scores=answer.scores))

    def _read_orders(self) -> None:
        if self._inbox is None:
            return
        dropped = self._commands_dropped
        if dropped != self._drops_told:
            level = logging.DEBUG if self._drops_told else logging.WARNING
            logger.log(level, "%d commands were dropped so far: at most %d may wait", dropped, MAX_COMMANDS)
            self._drops_told = dropped
        for channel in Channel:
            delivery = self._latest.pop(channel, None)
            if delivery is not None:
                self._inbox.on_delivery(delivery)
        while self._commands:
            self._inbox.on_delivery(self._commands.popleft())

    def _record_events(self) -> None:
        told = self._updater.events()
        own = tuple(self._events)
        if not told and not own:
            return
        self._recorder.put_events(own, told)
        for _ in own:
            self._events.popleft()
        self._updater.events_told(len(told))

    def _send(self) -> None:
        if self._link_is_new.is_set():
            self._link_is_new.clear()
            self._said = None
        if self._link.is_connected:
            self._say_status()
            while self._replies:
                self._link.publish(Channel.REPLY, encode(self._replies[0]))
                self._replies.popleft()
        self._send_records()

    def _send_the_last(self) -> None:
        """Send what became durable after the last round; nobody waits for it, the goodbye goes after it."""
        self._forwarder.flush()
        self._send_records()

    def _send_records(self) -> None:
        for _ in range(MAX_SENDS):
            if self._forwarder.step() == 0:
                return

    def _say_status(self) -> None:
        status = self._about.status(is_online=True)
        if self._said is not None and _is_same(status, self._said):
            return
        self._link.publish(Channel.STATUS, encode(msgspec.structs.replace(status, facts=self._about.facts())))
        self._said = status

    def _keep_live(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._live_at_s + LIVE_EVERY_S:
            return
        self._live_at_s = now_s
        live = self._about.live()
        # Nothing new, nothing written: flash cells wear.
        timeless = msgspec.structs.replace(live, at_utc_s=0.0)
        if timeless != self._kept:
            self._about.keep_live(live)
            self._kept = timeless

    def _say_goodbye(self) -> None:
        if self._link.is_connected:
            status = self._about.status(is_online=False)
            self._link.publish_and_wait(Channel.STATUS, encode(status), GOODBYE_S)


def _is_same(one: Status, other: Status) -> bool:
    """Tell whether two statuses say the same, whenever they say it."""
    return (one.online, one.bundle, one.variant, one.update_state) == (
        other.online,
        other.bundle,
        other.variant,
        other.update_state,
    )
