"""Tells people: one JSON line an alert in a file, and the same by POST to a webhook. Telling never blocks the loop."""

import json
import logging
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from trainer.monitoring.ledger import evidence_json

logger = logging.getLogger(__name__)

_WAITING_ALERTS = 1000
_TRIES = 5
_FIRST_RETRY_S = 0.5
_TIMEOUT_S = 5.0
_JOIN_S = 10.0


class Alert(msgspec.Struct, frozen=True):
    """Something that people should look at.

    Attributes:
        kind: ``skew``, ``collapse``, ``labels_missing``, ``gate_refused``, ``approval_wanted``, ``run_failed``,
            ``source_failed``, ``rollout_halted``, ``device_loss``, ``device_skew``, ``device_flood``,
            ``device_double``, ``device_error``, ``messages_refused`` or ``topics_refused``.
        scope: ``fleet``, or ``device:<name>``.
        evidence: JSON value.
    """

    at_utc_s: float
    kind: str
    scope: str
    text: str
    evidence: object


class AlertSink(Protocol):
    """Takes alerts without blocking and without raising."""

    def send(self, alert: Alert) -> None:
        """Take an alert."""
        ...

    def close(self) -> None:
        """Deliver what waits, within a bounded time."""
        ...


class FileAlerts:
    """Appends one JSON line an alert."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, alert: Alert) -> None:
        """Append the alert; a file that cannot be written is logged, with the alert."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line_of(alert) + "\n")
        except OSError as error:
            logger.error("alert %s not written to %s (%s): %s", alert.kind, self._path, error, alert.text)  # noqa: TRY400

    def close(self) -> None:
        """Nothing waits."""


class WebhookAlerts:
    """Posts each alert as JSON from a thread of its own; tries again a few times, then logs it."""

    def __init__(self, url: str, *, first_retry_s: float = _FIRST_RETRY_S, timeout_s: float = _TIMEOUT_S) -> None:
        """Start the thread.

        Args:
            url: http or https.
            first_retry_s: wait after the first failure; doubled after each further one.
            timeout_s: of one attempt.

        Raises:
            ValueError: another kind of URL.
        """
        if not url.startswith(("http://", "https://")):
            msg = f"webhook {url!r}: only http:// and https:// are posted to"
            raise ValueError(msg)
        self._url = url
        self._first_retry_s = first_retry_s
        self._timeout_s = timeout_s
        self._queue: queue.Queue[Alert | None] = queue.Queue(_WAITING_ALERTS)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts-webhook", daemon=True)
        self._thread.start()

    def send(self, alert: Alert) -> None:
        """Queue the alert; when too many wait, it is logged instead."""
        try:
            self._queue.put_nowait(alert)
        except queue.Full:
            logger.error("alert %s not posted, too many wait: %s", alert.kind, alert.text)  # noqa: TRY400

    def close(self) -> None:
        """Try each waiting alert once more, and end the thread."""
        self._closing.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            logger.debug("alerts wait at the end; the thread sees that it is closing")
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while True:
            try:
                alert = self._queue.get(timeout=1.0)
            except queue.Empty:
                if self._closing.is_set():
                    return
                continue
            if alert is None:
                return
            self._deliver(alert)

    def _deliver(self, alert: Alert) -> None:
        wait_s, problem = self._first_retry_s, ""
        for _ in range(_TRIES):
            try:
                self._post(alert)
            except (OSError, urllib.error.URLError, ValueError) as error:
                problem = str(error)
            else:
                return
            if self._closing.wait(wait_s):
                break
            wait_s *= 2
        logger.error("alert %s not posted to the webhook (%s): %s", alert.kind, problem, alert.text)

    def _post(self, alert: Alert) -> None:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url, data=_line_of(alert).encode(), headers={"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=self._timeout_s) as response:  # noqa: S310
            response.read()


class AllAlerts:
    """Sends each alert to several sinks."""

    def __init__(self, sinks: Sequence[AlertSink]) -> None:
        self._sinks = tuple(sinks)

    def send(self, alert: Alert) -> None:
        """Send to each."""
        for sink in self._sinks:
            sink.send(alert)

    def close(self) -> None:
        """Close each."""
        for sink in self._sinks:
            sink.close()


def _line_of(alert: Alert) -> str:
    return json.dumps(json.loads(evidence_json(alert)), ensure_ascii=False, sort_keys=True)
