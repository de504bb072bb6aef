"""Joins what makes a service report like a device: counting, a spool, a link with an identity of its own, orders."""

import contextlib
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.messages import Event
from broker.tls import open_tls
from edge_agent.bundle import Manifest
from edge_agent.clock import Clock
from edge_agent.handover import Handover
from edge_agent.housekeeping import Housekeeping
from edge_agent.link import DeviceLink
from edge_agent.live import SPOOL_NAME
from edge_agent.lock import StateLock
from edge_agent.orders import Orders
from edge_agent.recorder import Recorder
from edge_agent.sensing.sink import NoSink
from edge_agent.settings import TelemetrySettings
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.telemetry.sampler import SAMPLER_NOTE, Sampler
from edge_agent.telemetry.spool import RECORDS_SHARE, Spool
from trainer.serving.errors import ServingError
from trainer.serving.feedback.about import About, Identity
from trainer.serving.feedback.counting import Counting, ScoreOne
from trainer.serving.feedback.orders import FollowedReference
from trainer.serving.feedback.scored import ScoredRows

logger = logging.getLogger(__name__)

_DAY_S: Final = 86_400.0
# Together less than a service has to end.
_COUNT_S: Final = 5.0
_FINISH_S: Final = 5.0
_CLOSE_S: Final = 1.0
_MAX_REASON: Final = 2048


class Reporting:
    """One service as a device; implements `Feedback`. Close it.

    Attributes:
        prediction_prefix: of the ids of its predictions, so that no other device of the fleet has the same.
    """

    def __init__(self, identity: Identity, telemetry: TelemetrySettings, clock: Clock) -> None:
        """Take the state folder, and connect in the background.

        Args:
            identity: who it is.
            telemetry: how windows and samples are made and kept.
            clock: monotonic and UTC.

        Raises:
            StateInUseError: another process has the state folder.
            SpoolError: the spool cannot be opened.
            ServingError: the folder cannot be written.
            LinkError: a file of the identity cannot be used.
        """
        self._identity = identity
        self._clock = clock
        boot_id = f"{random.SystemRandom().getrandbits(64):016x}"
        self.prediction_prefix = f"{identity.device}.{boot_id[:8]}"
        tls = identity.tls
        context = None if tls is None else open_tls(tls.ca, tls.certificate, tls.key)
        with contextlib.ExitStack() as opened:
            opened.callback(_locked(identity.state).close)
            spool = self._spool = Spool(
                identity.state / SPOOL_NAME,
                random.Random(),
                int(telemetry.spool_max_bytes * RECORDS_SHARE),
                max_age_s=telemetry.spool_max_age_days * _DAY_S,
                monotonic_s=clock.monotonic_s,
            )
            opened.callback(spool.close)
            handover = Handover()
            sampler = Sampler(
                random.Random(), telemetry.background_rows, telemetry.max_label_share, spool.note(SAMPLER_NOTE)
            )
            self.counting = Counting(
                sampler, handover, clock, cursor=spool.cursor(), max_window_s=telemetry.max_window_s
            )
            self._link = DeviceLink(identity.endpoint, identity.fleet, identity.device, keepalive_s=60, tls=context)
            self._recorder = Recorder(spool, NoSink(), handover, identity.state)
            self._forwarder = Forwarder(
                spool,
                self._link.publish,
                clock,
                random.Random(),
                resend_after_s=telemetry.resend_after_s,
                together=telemetry.windows_together,
            )
            self._about = About(
                identity, boot_id, clock, self.counting, spool, self._recorder, self._forwarder, self._link
            )
            self._join(handover)
            self._opened = opened.pop_all()

    def _join(self, handover: Handover) -> None:
        updates = FollowedReference(self._identity.reference)
        self._housekeeping = Housekeeping(
            handover=handover,
            recorder=self._recorder,
            forwarder=self._forwarder,
            updater=updates,
            link=self._link,
            clock=self._clock,
            about=self._about,
        )
        self._orders = Orders(
            scoring=self.counting,
            updates=updates,
            on_stored=self._housekeeping.on_stored,
            report_status=self._housekeeping.report_status,
            diagnose=self._about.diagnose,
            reply=self._housekeeping.reply,
            tell=self._housekeeping.tell,
            clock=self._clock,
        )
        self._about.orders = self._orders

    # --- its life ----------------------------------------------------------------------------------------------------

    def start(self, manifest: Manifest, variant: str) -> None:
        """Begin to count what this bundle scores, and to connect."""
        self.counting.take_over(manifest, variant)
        self.counting.start()
        self._link.connect(
            self._housekeeping.on_delivery,
            self._housekeeping.on_link,
            self._about.status(is_online=False),
            random.Random(),
        )
        self._housekeeping.start(self._orders)

    def score_by(self, score_one: ScoreOne) -> None:
        """Have rows that somebody orders to be scored scored by this."""
        self.counting.score_by(score_one)

    def stop(self) -> None:
        """End the last window, make it durable, and say goodbye."""
        if not self.counting.stop(_COUNT_S):
            logger.warning("not all rows that were answered could be counted in time")
        if not self._housekeeping.stop(_FINISH_S):
            logger.warning("the last window could not be made durable in time")
        self._link.close(_CLOSE_S)

    def close(self) -> None:
        """Give back the state folder."""
        self._opened.close()

    # --- Feedback ----------------------------------------------------------------------------------------------------

    def count(self, scored: ScoredRows) -> None:
        """Take the rows of one request; see `Feedback.count`."""
        self.counting.count(scored)

    def take_over(self, manifest: Manifest, variant: str) -> None:
        """Take the word that another bundle answers; see `Feedback.take_over`."""
        before = self.counting.bundle
        self.counting.take_over(manifest, variant)
        reason = f"{manifest.ref} took over from {before}, as {self._identity.reference} means it now"
        self._housekeeping.tell(Event("activated", self._clock.utc_s(), "info", reason, manifest.ref))

    def tell_refusal(self, reason: str) -> None:
        """Take the word that a bundle was not let take over; see `Feedback.tell_refusal`."""
        self._housekeeping.tell(Event("error", self._clock.utc_s(), "error", reason[:_MAX_REASON]))


@contextmanager
def opened_reporting(identity: Identity, telemetry: TelemetrySettings, clock: Clock) -> Iterator[Reporting]:
    """Open one, and close it at the end; raise as `Reporting` does. Whoever serves starts and stops it."""
    reporting = Reporting(identity, telemetry, clock)
    try:
        yield reporting
    finally:
        reporting.close()


def _locked(state: Path) -> StateLock:
    try:
        return StateLock(state)
    except OSError as error:
        raise ServingError(
            f"{state}: what a service reports cannot be kept there: {error.strerror or error}"
        ) from error
