"""Carries rows from a topic to the service, and its answers to another topic, in their order.

Messages that arrive together are scored together. They are acknowledged once the broker has the answer of each: until
then nothing more is read, so that the broker keeps what comes faster than it is answered, within its own bounds. Where
answers cannot be published, or features not be looked up, the link is cut, and the messages come again.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from edge_agent.clock import Clock
from edge_agent.sensing.http_message import HttpError
from edge_agent.sensing.mqtt_link import Arrival, MqttLink, MqttPlace
from edge_agent.surprises import Surprises
from trainer.serving.errors import ServingError
from trainer.serving.service import Service
from trainer.serving.topics.answering import Answering
from trainer.serving.topics.ledger import Ledger, Taken

logger = logging.getLogger(__name__)

# Longest wait for the answers of what came together; well below the broker's patience with us.
_SCORE_S: Final = 20.0
_PUBLISH_S: Final = 2.0
_TRIES: Final = 5
_REST_S: Final = 0.2
_MAX_TOPIC_BYTES: Final = 1024


class Topics(Struct, frozen=True):
    """Where rows come from, and answers go.

    Attributes:
        place: the broker, and who the service is there: it keeps what arrives while a service of this name is away.
        rows: topic or filter of rows.
        answers: topic of answers.
        ledger: file that remembers what was answered.
    """

    place: MqttPlace
    rows: str
    answers: str
    ledger: Path


class TopicStream:
    """One service's way from topic to topic; `start`, `stop` and `close` it."""

    def __init__(self, topics: Topics, clock: Clock) -> None:
        """Open what remembers; nothing is read before `start`.

        Raises:
            ServingError: the topics cannot be, or the ledger cannot be written.
        """
        _verify(topics)
        self._topics = topics
        self._clock = clock
        self._ledger = Ledger(topics.ledger)
        self._service: Service | None = None
        self._answering: Answering | None = None
        self._stopping = threading.Event()
        # Held while messages are answered.
        self._busy = threading.Lock()
        self._ids: Iterator[str] = iter(())
        self._surprises = Surprises(logger)
        place = topics.place
        self._rows = MqttLink(place, random.Random(), clock, topics.rows, self._receive)
        self._answers = MqttLink(replace(place, client_id=f"{place.client_id}-answers"), random.Random(), clock)

    def start(self, service: Service) -> None:
        """Start to read; the service's loop runs."""
        self._service, self._answering = service, Answering(service)
        self._ids = service.ids.beside("t")
        service.metrics.watch_topics(lambda: self.is_up)
        self._answers.start()
        self._rows.start()

    @property
    def is_up(self) -> bool:
        """Whether both links are."""
        return self._rows.is_up and self._answers.is_up

    def stop(self) -> None:
        """End: what is being answered is answered, what is not stays at the broker."""
        self._stopping.set()
        self._rows.close()
        # What is under way has its answers acknowledged, so that it is noted and does not go out again.
        if self._busy.acquire(timeout=_SCORE_S):
            self._busy.release()
        self._answers.close()

    def close(self) -> None:
        """Close what remembers."""
        self._ledger.close()

    # --- thread of the rows' link ------------------------------------------------------------------------------------

    def _receive(self, arrivals: Sequence[Arrival]) -> bool:
        """Answer messages; return whether they may be acknowledged: see `mqtt_link.Receive`."""
        service = self._service
        if service is None or self._stopping.is_set():
            return False
        with self._busy:
            is_done = self._answer_all(service, arrivals)
        if not is_done:
            # They have no acknowledgement, and do not come again.
            service.metrics.count_messages("lost", sum(not arrival.qos for arrival in arrivals))
        return is_done

    def _answer_all(self, service: Service, arrivals: Sequence[Arrival]) -> bool:
        # A retained message was there before, and would come again with every connection.
        rows = [arrival for arrival in arrivals if not arrival.is_retained]
        service.metrics.count_messages("retained", len(arrivals) - len(rows))
        try:
            taken = self._ledger.take(rows, self._ids)
            waiting = [each for each in taken if not each.is_answered]
            service.metrics.count_messages("repeated", len(taken) - len(waiting))
            return not waiting or self._answer(service, waiting)
        except (ServingError, HttpError, ConnectionError) as error:
            logger.warning("%d messages wait at the broker: %s", len(rows), error)
        except (CancelledError, TimeoutError) as error:
            logger.warning("%d messages wait at the broker: they were not scored in time: %r", len(rows), error)
        except Exception as error:  # noqa: BLE001 - whatever a message brings about, the next ones are answered
            self._surprises.tell("answering messages", error)
        return False

    def _answer(self, service: Service, waiting: Sequence[Taken]) -> bool:
        """Score, publish, and note; return whether all is done.

        Raises:
            HttpError: they cannot be answered now.
            ConnectionError: the broker does not take the answers.
            ServingError: they cannot be noted.
        """
        if service.loop is None or self._answering is None:
            return False
        answers = self._answering.answers([each.arrival.payload for each in waiting], [each.id for each in waiting])
        scored = asyncio.run_coroutine_threadsafe(answers, service.loop)
        try:
            told = scored.result(_SCORE_S)
        except TimeoutError:
            scored.cancel()
            raise
        self._publish(service, waiting, told)
        return True

    def _publish(self, service: Service, waiting: Sequence[Taken], told: Sequence[bytes]) -> None:
        done = 0
        for attempt in itertools.count(1):
            n_taken = 0
            with contextlib.suppress(ConnectionError):
                n_taken = self._answers.publish(self._topics.answers, told[done:], _PUBLISH_S)
            if n_taken:
                # In order: what is noted here is never answered again.
                self._ledger.answered(waiting[done : done + n_taken])
                service.metrics.count_messages("answered", n_taken)
                done += n_taken
            if done == len(told):
                return
            if attempt >= _TRIES or self._stopping.wait(_REST_S):
                raise ConnectionError(f"{self._topics.place} does not take answers on {self._topics.answers}")


def _verify(topics: Topics) -> None:
    for option, topic in (("--from-topic", topics.rows), ("--to-topic", topics.answers)):
        if not 0 < len(topic.encode()) <= _MAX_TOPIC_BYTES or "\0" in topic:
            raise ServingError(f"{option} {topic[:80]!r}: a topic has 1 to {_MAX_TOPIC_BYTES} bytes, and no NUL")
    if {"+", "#"} & set(topics.answers):
        raise ServingError(f"--to-topic {topics.answers!r}: answers go to one topic, without + and #")
    if matches(topics.rows, topics.answers):
        raise ServingError(
            f"--to-topic {topics.answers!r} is one of --from-topic {topics.rows!r}: each answer would be a row again"
        )


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a filter takes a topic (MQTT 3.1.1, 4.7); one that is shared counts without its group."""
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[-1]
    wanted, parts = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(parts) or level not in {"+", parts[place]}:
            return False
    return len(wanted) == len(parts)
