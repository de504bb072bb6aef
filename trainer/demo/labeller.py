"""Tells the truth later: answers sampled rows with their labels, never earlier than they can be known.

Stands where a person, a laboratory or the next day stands in a fleet: it sees what devices publish as ``samples`` and
publishes ``labels``, with an identity of its own. It labels nothing that was not sampled.
"""

import heapq
import logging
import random
import threading
from collections.abc import Mapping

from broker.client import Delivery, Endpoint, WireClient
from broker.errors import LinkError, WireError
from broker.messages import Label, Labels, Samples, encode, parse_as
from broker.topics import Channel, DeviceId, FleetId, Topic, fleet_filter
from edge_agent.clock import Clock

_LOG = logging.getLogger(__name__)
_POLL_S = 0.05


class Labeller:
    """Publishes the label of every sampled row once ``delay_s`` have passed since it was scored."""

    def __init__(
        self,
        endpoint: Endpoint,
        fleet: FleetId,
        truth: Mapping[str, str | float],
        *,
        delay_s: float,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Prepare; `start` connects.

        Args:
            endpoint: the broker.
            fleet: the fleet whose samples are answered.
            truth: prediction id to label (classification) or value (regression).
            delay_s: seconds between the scoring of a row and the moment in which its label becomes known.
            clock: tells the time.
            rng: for the client's backoff.
        """
        self._fleet = fleet
        self._truth = truth
        self._delay_s = delay_s
        self._clock = clock
        self._due: list[tuple[float, DeviceId, str]] = []
        self._known: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="labeller", daemon=True)
        self._client = WireClient(
            endpoint,
            "labeller",
            filters=(fleet_filter(fleet, Channel.SAMPLES),),
            on_delivery=self._on_samples,
            rng=rng,
        )

    def start(self) -> None:
        """Connect and begin to answer."""
        self._client.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop answering; labels that are not due yet are never told."""
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _on_samples(self, delivery: Delivery) -> None:
        try:
            samples = parse_as(Samples, Channel.SAMPLES, delivery.payload)
        except WireError as error:
            _LOG.warning("samples of %s not labelled: %s", delivery.topic.device, error)
            return
        with self._lock:
            for row in samples.rows:
                if row.prediction_id in self._truth and row.prediction_id not in self._known:
                    self._known.add(row.prediction_id)
                    due_s = row.scored_utc_s + self._delay_s
                    heapq.heappush(self._due, (due_s, delivery.topic.device, row.prediction_id))

    def _tell(self) -> None:
        while not self._stop.wait(_POLL_S):
            for device, ids in self._take_due().items():
                self._publish(device, ids)

    def _take_due(self) -> dict[DeviceId, list[str]]:
        now_s = self._clock.utc_s()
        due: dict[DeviceId, list[str]] = {}
        with self._lock:
            while self._due and self._due[0][0] <= now_s:
                _, device, prediction_id = heapq.heappop(self._due)
                due.setdefault(device, []).append(prediction_id)
        return due

    def _publish(self, device: DeviceId, ids: list[str]) -> None:
        now_s = self._clock.utc_s()
        rows = tuple(Label(prediction_id, self._truth[prediction_id], now_s) for prediction_id in ids)
        try:
            self._client.publish(
                Topic(self._fleet, device, Channel.LABELS), encode(Labels(source="labeller", rows=rows))
            )
        except LinkError:
            with self._lock:
                for prediction_id in ids:
                    heapq.heappush(self._due, (now_s, device, prediction_id))
