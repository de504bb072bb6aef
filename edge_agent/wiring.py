"""Joins the parts of an agent: the only place that knows all of them."""

import contextlib
import json
import logging
import os
import platform
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from broker.client import Endpoint
from broker.errors import LinkError
from broker.messages import Event, Facts, Status
from edge_agent.agent import MAX_REASON, OpenedSource, ScoringLoop
from edge_agent.bundle import Manifest
from edge_agent.clock import Clock
from edge_agent.errors import BundleError, SettingsError, SourceError, StorageError
from edge_agent.facts import read_facts, read_resources
from edge_agent.handover import Handover
from edge_agent.housekeeping import Housekeeping
from edge_agent.link import DeviceLink, open_tls
from edge_agent.live import LIVE_NAME, SPOOL_NAME, Live, StandIn, write_live
from edge_agent.local_orders import LocalOrders
from edge_agent.lock import StateLock
from edge_agent.orders import Orders
from edge_agent.recorder import SAMPLER_NOTE, Recorder
from edge_agent.release import VERSION
from edge_agent.settings import AgentSettings, BrokerSettings, EnrolmentSettings
from edge_agent.sources import SourceOpener, Surroundings, open_sink, with_answers
from edge_agent.telemetry.ballast import BALLAST_NAME, Ballast
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.telemetry.sampler import Sampler
from edge_agent.telemetry.spool import RECORDS_SHARE, Spool
from edge_agent.update.engine import Engine, TrialMeter, open_engine
from edge_agent.update.record import Content, SlotName
from edge_agent.update.shadow import Shadow, ShadowQueue
from edge_agent.update.shadow_process import ShadowProcess
from edge_agent.update.slots import RECORD_NAME, Bundle, SlotStore
from edge_agent.update.staging import StageProcess
from edge_agent.update.states import State
from edge_agent.update.updater import Updater

if TYPE_CHECKING:
    from edge_agent.enrolment.keeper import CertificateKeeper

logger = logging.getLogger(__name__)

# Together they stay below the two seconds that an agent has to stop.
FINISH_S: Final = 1.4
CLOSE_S: Final = 0.3
# Another agent goes on in this process: it needs the spool and the source whole, and nobody waits for an end.
HAND_OVER_S: Final = 30.0
# Where the source's end is the agent's end: longest wait for the monitor's word about the last records.
SEND_REST_S: Final = 10.0
LOOK_S: Final = 0.05
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class KeptSource:
    """What one agent leaves to the next one in this process: a live source goes on listening, a file stays open.

    Attributes:
        opener: what listens, or opens.
        opened: the source at the row where scoring stands; None: no bundle opened one.
    """

    opener: SourceOpener
    opened: OpenedSource | None


class Agent:
    """A wired agent that owns its state folder; close it."""

    def __init__(
        self,
        settings: AgentSettings,
        clock: Clock,
        *,
        on_round: Callable[[], None] | None = None,
        source: KeptSource | None = None,
    ) -> None:
        """Take the state folder and open what is in it; nothing is read or sent before `run`.

        Args:
            settings: all of them.
            clock: monotonic and UTC.
            on_round: called in each round of housekeeping, by its thread.
            source: what the agent before this one left open.

        Raises:
            StateInUseError: another agent has the state folder.
            SpoolError: the spool cannot be opened.
            SettingsError: the state folder or the sink cannot be written, or the user's code is not there.
            SourceError: a live source cannot be served.
        """
        self._settings = settings
        self._clock = clock
        self._on_round = on_round
        self._left_source = source.opened if source is not None else None
        self._is_leaving = self._is_wired = False
        self._is_source_lent = source is not None
        self._state = Path(settings.state)
        self._boot_id = f"{random.SystemRandom().getrandbits(64):016x}"
        self._version = VERSION
        self._started_utc_s = clock.utc_s()
        with contextlib.ExitStack() as opened:
            try:
                lock = StateLock(self._state)
            except OSError as error:
                raise SettingsError(f"key 'state': {self._state}: {error.strerror or error}") from error
            opened.callback(lock.close)
            _remove_leftovers(self._state)
            ballast = Ballast(self._state)
            ballast.release_if_full()
            # When all is closed again, and when all is open: what this start took is not to be missing at the next.
            opened.callback(ballast.keep)
            self._spool = Spool(
                self._state / SPOOL_NAME,
                random.Random(),
                int(settings.telemetry.spool_max_bytes * RECORDS_SHARE),
                max_age_s=settings.telemetry.spool_max_age_days * DAY_S,
                monotonic_s=clock.monotonic_s,
            )
            opened.callback(self._spool.close)
            name = f"fieldloop-{settings.fleet}-{settings.device}"
            around = Surroundings(name, self._state, clock, self._spool.cursor, self._scoring_manifest)
            if source is None:
                self._source = SourceOpener(settings.source, around)
            else:
                self._source = source.opener
                self._source.move_to(around)
            opened.callback(self._close_source)
            sink = open_sink(settings.sink, name)
            opened.callback(sink.close)
            self._sink = with_answers(sink, self._source.answers)
            self._join()
            ballast.keep()
            self._is_wired = True
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self) -> None:
        """Score until `stop`, or until the source ends where that is the end.

        Raises:
            SourceError: the source cannot be read.
            StorageError: what was scored did not become durable in time for the agent that goes on after `leave`.
        """
        self._link.connect(
            self._housekeeping.on_delivery, self._housekeeping.on_link, self.status(is_online=False), random.Random()
        )
        self._housekeeping.start(self._orders)
        self._source.start()
        try:
            self._loop.run()
            self._send_the_rest()
        finally:
            is_finished = self._housekeeping.stop(HAND_OVER_S if self._is_leaving else FINISH_S)
            if not is_finished:
                logger.warning("housekeeping did not finish in time; what is not durable will be scored again")
            self._link.close(HAND_OVER_S if self._is_leaving else CLOSE_S)
        # The source has gone on: what the spool lacks, nobody would score again in this process.
        if self._is_leaving and not (is_finished and self._handover.is_durable):
            raise StorageError(f"{self._state}: what was scored last did not become durable; start the agent anew")

    def _send_the_rest(self) -> None:
        """When the source has ended and was not stopped, nobody is in a hurry: let what is durable be stored."""
        self._forwarder.flush()
        ends_s = self._clock.monotonic_s() + SEND_REST_S
        while not self._loop.wait_for_stop(LOOK_S) and self._clock.monotonic_s() < ends_s:
            if not self._recorder.is_behind and self._spool.waiting_through(self._spool.last_sequence) == 0:
                return

    def stop(self) -> None:
        """End `run` soon; may be called by a signal's handler."""
        self._loop.stop()

    def leave(self) -> None:
        """End `run` soon, with the source left open for the agent that goes on in this process."""
        self._is_leaving = True
        self._loop.keep_source()
        self._loop.stop()

    @property
    def kept_source(self) -> KeptSource | None:
        """The source that `leave` left open."""
        return KeptSource(self._source, self._loop.kept_source) if self._is_leaving else None

    def close(self) -> None:
        """Give back the state folder."""
        self._opened.close()

    def _close_source(self) -> None:
        # One that was taken over outlives an agent that could not be opened.
        if self._is_leaving or (self._is_source_lent and not self._is_wired):
            self._source.rest()
        else:
            self._source.close()

    # --- joining -----------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        settings, clock, state = self._settings, self._clock, self._state
        store = SlotStore(state)
        self._updater = Updater(
            settings.repository,
            settings.scoring.prefer,
            store,
            state,
            start_staging=StageProcess,
            open_engine=self._open_engine,
            clock=clock,
            rng=random.Random(),
            read_memory=lambda: read_resources(state).rss_bytes or None,
        )
        handover, shadow_queue = Handover(), ShadowQueue()
        self._handover = handover
        telemetry = settings.telemetry
        self._loop = ScoringLoop(
            settings.device_id,
            open_source=self._source.open,
            sink=self._sink,
            sampler=Sampler(
                random.Random(), telemetry.background_rows, telemetry.max_label_share, self._spool.note(SAMPLER_NOTE)
            ),
            handover=handover,
            clock=clock,
            max_window_s=telemetry.max_window_s,
            stop_at_end=settings.source.at_end == "stop",
            engine=self._updater.start(),
            cursor=self._spool.cursor(),
            source=self._left_source,
            shadow=shadow_queue,
            max_batch_rows=settings.scoring.max_batch_rows,
            abstain_below=settings.scoring.abstain_below,
        )
        self._updater.attach(self._loop)
        keeper = None if settings.enrolment is None else _open_keeper(settings, settings.enrolment, clock)
        broker = settings.broker
        self._link = DeviceLink(
            Endpoint(broker.host, broker.port) if keeper is None else keeper.endpoint,
            settings.fleet_id,
            settings.device_id,
            broker.keepalive_s,
            _tls_of(broker) if keeper is None else keeper.tls,
            is_known=keeper is None or keeper.tls is not None,
        )
        self._recorder = Recorder(self._spool, self._sink, handover, state)
        self._forwarder = Forwarder(
            self._spool,
            self._link.publish,
            clock,
            random.Random(),
            resend_after_s=telemetry.resend_after_s,
            together=telemetry.windows_together,
        )
        self._housekeeping = Housekeeping(
            handover=handover,
            recorder=self._recorder,
            forwarder=self._forwarder,
            updater=self._updater,
            link=self._link,
            clock=clock,
            about=self,
            on_round=self._on_round,
        )
        if keeper is not None:
            keeper.join(self._link, self._housekeeping, self._clock)
        local = LocalOrders(state, updates=self._updater, diagnose=self._diagnose, clock=clock)
        self._shadow = Shadow(
            shadow_queue,
            self._updater,
            store,
            start_process=ShadowProcess,
            tell=self._housekeeping.tell,
            clock=clock,
            report_every_s=telemetry.max_window_s,
        )
        self._housekeeping.also("shadow", self._shadow.poll, at_end=self._shadow.stop)
        self._housekeeping.also("orders at the device", local.poll)
        self._orders = Orders(
            scoring=self._loop,
            updates=self._updater,
            on_stored=self._housekeeping.on_stored,
            report_status=self._housekeeping.report_status,
            diagnose=self._diagnose,
            reply=self._housekeeping.reply,
            tell=self._housekeeping.tell,
            clock=clock,
        )
        if self._spool.recovered_from is not None:
            reason = (
                f"the spool was damaged and made anew with {self._spool.recovered} records of it; "
                f"the old one is kept as {self._spool.recovered_from}"
            )
            self._housekeeping.tell(Event("error", clock.utc_s(), "error", reason))

    def _open_engine(self, slot: SlotName, content: Content, bundle: Bundle, meter: TrialMeter | None) -> Engine:
        try:
            self._source.verify(bundle.manifest.inputs)
        except SourceError as error:
            # A source that is broken for every bundle is told by the loop; only a trial is judged by it.
            if meter is not None:
                raise BundleError(f"the source does not give what {content.bundle} takes: {error}") from error
        return open_engine(slot, content, bundle, meter)

    # --- what the service manager hears ------------------------------------------------------------------------------

    @property
    def rounds(self) -> int:
        """How often the scoring loop went round."""
        return self._loop.rounds

    @property
    def is_in_trial(self) -> bool:
        """Whether a bundle is on trial, which a start would count against."""
        return self._updater.record.state is State.TRIAL

    def in_a_line(self) -> str:
        """Say what the agent does now."""
        scoring = self._updater.scoring
        what = f"{scoring.bundle} ({scoring.variant})" if scoring is not None else "no bundle yet"
        link = "connected" if self._link.is_connected else "no link to the broker"
        return f"{what}; update {self._updater.record.state.value}; {self._recorder.rows_scored} rows; {link}"

    def tell(self, reason: str) -> None:
        """Report an error of the agent itself; called from `on_round`."""
        self._housekeeping.tell(Event("error", self._clock.utc_s(), "error", reason[:MAX_REASON]))

    # --- what the agent knows of itself ------------------------------------------------------------------------------

    def status(self, *, is_online: bool) -> Status:
        """Return what the agent is now; see `edge_agent.housekeeping.About`."""
        scoring = self._updater.scoring
        return Status(
            online=is_online,
            at_utc_s=self._clock.utc_s(),
            boot_id=self._boot_id,
            agent_version=self._version,
            bundle=scoring.bundle if scoring is not None else None,
            variant=scoring.variant if scoring is not None else None,
            update_state=self._updater.record.state.value,
        )

    def facts(self) -> Facts:
        """Return what the device is now."""
        return read_facts(self._state)

    def keep_live(self, live: Live) -> None:
        """Put counters on the disk."""
        write_live(self._state, live)

    def live(self) -> Live:
        """Return the agent's counters."""
        return Live(
            stand_in=self._stand_in(),
            device=self._settings.device,
            fleet=self._settings.fleet,
            agent_version=self._version,
            boot_id=self._boot_id,
            pid=os.getpid(),
            started_utc_s=self._started_utc_s,
            at_utc_s=self._clock.utc_s(),
            connected=self._link.is_connected,
            rows_scored=self._recorder.rows_scored,
            rows_refused=self._recorder.rows_refused,
            windows=self._recorder.windows,
            refused_messages=self._orders.refused_messages,
            answers_lost=self._sink.lost,
            rows_turned_away=self._source.inlet.turned_away if self._source.inlet is not None else 0,
            last_window=self._recorder.last_window,
        )

    def _scoring_manifest(self) -> Manifest | None:
        """Return what scores now; asked by sources that serve, so not before `run`."""
        engine = self._loop.engine
        return None if engine is None else engine.manifest

    def _stand_in(self) -> StandIn | None:
        record, scoring, slot = self._updater.record, self._updater.scoring, self._updater.scoring_slot
        active = record.active
        if scoring is None or slot is None or active is None or record.state not in {State.IDLE, State.SHADOW}:
            return None
        if slot == record.roles.active:
            return None
        return StandIn(str(scoring.bundle), scoring.variant, slot, str(active.bundle))

    def _diagnose(self) -> str:
        """Tell what this agent knows of itself; its settings hold no secrets."""
        record, scoring = self._updater.record, self._updater.scoring
        facts = self.facts()
        counts = self._spool.counts()
        report = {
            "agent": self._version,
            "python": platform.python_version(),
            "device": self._settings.device,
            "boot_id": self._boot_id,
            "up_s": round(self._clock.utc_s() - self._started_utc_s, 1),
            "update": {
                "state": record.state.value,
                "running": str(scoring.bundle) if scoring is not None else None,
                "variant": scoring.variant if scoring is not None else None,
                "previous": str(record.previous.bundle) if record.previous is not None else None,
                "refused": [f"{r.bundle} under {r.order_id}: {r.reason[:200]}" for r in record.refusals[-5:]],
            },
            "spool": {
                channel.value: {
                    "put": c.put,
                    "waiting": c.waiting,
                    "dropped": c.dropped,
                    "merged": c.merged,
                    "expired": c.expired,
                }
                for channel, c in counts.items()
            },
            "forwarder": {"sent": self._forwarder.sent, "resends": self._forwarder.resends},
            "rows": {"scored": self._recorder.rows_scored, "refused": self._recorder.rows_refused},
            "source": self._source.counts(),
            "board": facts.board,
            "architecture": facts.architecture,
            "runtimes": list(facts.runtimes),
            "free_disk_bytes": facts.free_disk_bytes,
        }
        return json.dumps(report)


def _open_keeper(settings: AgentSettings, enrolment: EnrolmentSettings, clock: Clock) -> "CertificateKeeper":
    # Only a device that enrols needs all of this.
    from edge_agent.enrolment.keeper import CertificateKeeper  # noqa: PLC0415

    return CertificateKeeper(settings, enrolment, clock)


def _tls_of(broker: BrokerSettings) -> ssl.SSLContext | None:
    if broker.ca is None:
        return None
    try:
        return open_tls(broker.ca, broker.certificate, broker.key)
    except LinkError as error:
        raise SettingsError(f"key 'broker.ca': {error}") from error


def _remove_leftovers(state: Path) -> None:
    """Remove what a cut left of files that were being replaced (`edge_agent.durable` names them after the file)."""
    for name in (RECORD_NAME, LIVE_NAME, BALLAST_NAME):
        for path in state.glob(f".{name}.*"):
            path.unlink(missing_ok=True)
