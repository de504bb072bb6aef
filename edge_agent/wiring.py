"""Joins the parts of an agent: what scores at once; all else beside it, as soon as a row was scored (`upkeep`)."""

import contextlib
import gc
import logging
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from msgspec import Struct

from edge_agent.agent import OpenedSource, ScoringLoop
from edge_agent.bundle import Manifest
from edge_agent.clock import Clock
from edge_agent.errors import BundleError, SettingsError, SourceError, StorageError
from edge_agent.handover import ClosedWindow, Handover, Item
from edge_agent.live import LIVE_NAME, SPOOL_NAME
from edge_agent.lock import StateLock
from edge_agent.parts import Parts
from edge_agent.sensing.sink import Sink
from edge_agent.settings import AgentSettings
from edge_agent.sinks import open_sink, with_answers
from edge_agent.sources import SourceOpener, Surroundings
from edge_agent.start_archive import close_archives
from edge_agent.telemetry.ballast import BALLAST_NAME, Ballast
from edge_agent.telemetry.sampler import SAMPLER_NOTE, Sampler
from edge_agent.telemetry.spool import RECORDS_SHARE, Spool
from edge_agent.update.engine import Engine, TrialMeter, open_engine
from edge_agent.update.record import Content, SlotName
from edge_agent.update.shadow_queue import ShadowQueue
from edge_agent.update.slots import RECORD_NAME, Bundle, SlotStore
from edge_agent.update.states import State
from edge_agent.update.updater import Updater

if TYPE_CHECKING:
    from broker.messages import Status
    from edge_agent.live import Live
    from edge_agent.update.fetching import Staging
    from edge_agent.update.stage_messages import StageOrder
    from edge_agent.upkeep import Upkeep

# What is not needed for the first row is imported after it.
# ruff: noqa: PLC0415

logger = logging.getLogger(__name__)

# Together they stay below the two seconds that an agent has to stop.
FINISH_S: Final = 1.4
CLOSE_S: Final = 0.3
# Another agent goes on in this process: it needs the spool and the source whole, and nobody waits for an end.
HAND_OVER_S: Final = 30.0
# Free on the disk before that: the last windows, the pages that they take in the spool, the answers that wait.
LEAVE_BYTES: Final = 1 << 20
# Where the source's end is the agent's end: longest wait for the monitor's word about the last records.
SEND_REST_S: Final = 10.0
LOOK_S: Final = 0.05
DAY_S: Final = 86_400.0
# All else begins when scoring has gone round once, which it does each tenth of a second without any row; one that
# hangs must not keep the device from being heard.
FIRST_ROUND_S: Final = 10.0
FIRST_LOOK_S: Final = 0.005


class Unkept(Struct, frozen=True):
    """What the disk refused when an agent left: the next one, with the same settings, goes on with it in memory.

    Attributes:
        items: windows and answers to orders, the oldest first.
        sink: with the answers that wait in it.
        reason: the disk's.
    """

    items: tuple[Item, ...]
    sink: Sink
    reason: str

    @property
    def cursor(self) -> int | None:
        """Number of the first row that is in none of the windows; None: there is no window."""
        return next((item.cursor for item in reversed(self.items) if isinstance(item, ClosedWindow)), None)

    @property
    def sampler_state(self) -> bytes | None:
        """What the sampler must not forget; None: nothing new."""
        return next((item.sampler_state for item in reversed(self.items) if item.sampler_state is not None), None)


class KeptSource(Struct, frozen=True):
    """What one agent leaves to the next one in this process: a live source goes on listening, a file stays open.

    Attributes:
        opener: what listens, or opens.
        opened: the source at the row where scoring stands; None: no bundle opened one.
        unkept: what is not durable; None: everything is.
    """

    opener: SourceOpener
    opened: OpenedSource | None
    unkept: Unkept | None = None


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
        self._clock = clock
        self._on_round = on_round
        self._left_source = source.opened if source is not None else None
        self._is_leaving = self._is_wired = self._is_finished = False
        self._is_source_lent = source is not None
        self._state = Path(settings.state)
        self._upkeep: Upkeep | None = None
        self._joining = threading.Lock()
        # What kept the upkeep from being joined.
        self._failure: Exception | None = None
        self._is_over = threading.Event()
        self._unkept: Unkept | None = None
        sink_path = settings.sink.path
        self._sink_folders = () if sink_path is None else (Path(sink_path).parent,)
        with contextlib.ExitStack() as opened:
            self._parts = self._open(settings, source, opened)
            if source is not None:
                # Its libraries are loaded, and what it cannot do is told while the old settings can still be taken.
                self._join()
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
            SettingsError: the files that the link to the broker needs cannot be used.
            StorageError: housekeeping hangs while another agent waits for the state folder.
        """
        beside = threading.Thread(target=self._begin_upkeep, name="upkeep", daemon=True)
        beside.start()
        self._parts.source.start()
        try:
            self._parts.loop.run()
            self._is_over.set()
            beside.join()
            self._send_the_rest()
        finally:
            self._is_over.set()
            beside.join()
            is_durable = self._end_upkeep()
        if self._failure is not None:
            raise self._failure
        if self._is_leaving and not is_durable:
            self._unkept = self._hand_back()

    def stop(self) -> None:
        """End `run` soon; may be called by a signal's handler."""
        self._parts.loop.stop()

    def leave(self) -> None:
        """End `run` soon, with the source left open for the agent that goes on in this process."""
        self._is_leaving = True
        self._parts.loop.keep_source()
        self._parts.loop.stop()

    @property
    def kept_source(self) -> KeptSource | None:
        """The source that `leave` left open."""
        if not self._is_leaving:
            return None
        return KeptSource(self._parts.source, self._parts.loop.kept_source, self._unkept)

    def why_not_leave(self) -> str:
        """Say why the disk may not take what `leave` has to make durable; empty: it does. Asked by housekeeping."""
        refusal = ""
        if self._upkeep is not None:
            self._upkeep.record_now()
            refusal = self._upkeep.refusal
        free_bytes = min(_free_bytes(folder) for folder in (self._state, *self._sink_folders))
        if not refusal and free_bytes < LEAVE_BYTES:
            refusal = f"{free_bytes >> 10} KiB of the disk are free, and {LEAVE_BYTES >> 10} KiB are needed"
        return refusal

    def close(self) -> None:
        """Give back the state folder."""
        self._opened.close()

    # --- what scores -------------------------------------------------------------------------------------------------

    def _open(self, settings: AgentSettings, source: KeptSource | None, opened: contextlib.ExitStack) -> Parts:
        state, clock = self._state, self._clock
        try:
            lock = StateLock(state)
        except OSError as error:
            raise SettingsError(f"key 'state': {state}: {error.strerror or error}") from error
        opened.callback(lock.close)
        _remove_leftovers(state)
        ballast = Ballast(state)
        ballast.release_if_full()
        # When all is closed again, and when all is open: what this start took is not to be missing at the next.
        opened.callback(ballast.keep)
        spool = Spool(
            state / SPOOL_NAME,
            random.Random(),
            int(settings.telemetry.spool_max_bytes * RECORDS_SHARE),
            max_age_s=settings.telemetry.spool_max_age_days * DAY_S,
            monotonic_s=clock.monotonic_s,
        )
        opened.callback(spool.close)
        name = f"fieldloop-{settings.fleet}-{settings.device}"
        around = Surroundings(name, state, clock, spool.cursor, self._scoring_manifest)
        if source is None:
            self._source = SourceOpener(settings.source, around)
        else:
            self._source = source.opener
            self._source.move_to(around)
        opened.callback(self._close_source)
        unkept = source.unkept if source is not None else None
        own_sink = self._own_sink = open_sink(settings.sink, name) if unkept is None else unkept.sink
        opened.callback(self._close_sink)
        sink = with_answers(own_sink, self._source.answers)
        store, handover, shadow_rows = SlotStore(state), Handover(), ShadowQueue()
        cursor, sampler_state = spool.cursor(), spool.note(SAMPLER_NOTE)
        if unkept is not None:
            for item in unkept.items:
                handover.put(item)
            cursor = cursor if unkept.cursor is None else unkept.cursor
            sampler_state = unkept.sampler_state or sampler_state
        updater = Updater(
            settings.repository,
            settings.scoring.prefer,
            store,
            state,
            start_staging=_start_staging,
            open_engine=self._open_engine,
            clock=clock,
            rng=random.Random(),
            read_memory=lambda: _memory_bytes(state),
        )
        telemetry = settings.telemetry
        loop = self._loop = ScoringLoop(
            settings.device_id,
            open_source=self._source.open,
            sink=sink,
            sampler=Sampler(random.Random(), telemetry.background_rows, telemetry.max_label_share, sampler_state),
            handover=handover,
            clock=clock,
            max_window_s=telemetry.max_window_s,
            stop_at_end=settings.source.at_end == "stop",
            engine=updater.start(),
            cursor=cursor,
            source=self._left_source,
            shadow=shadow_rows,
            max_batch_rows=settings.scoring.max_batch_rows,
            abstain_below=settings.scoring.abstain_below,
        )
        updater.attach(loop)
        ballast.keep()
        return Parts(
            settings,
            clock,
            state,
            spool,
            self._source,
            sink,
            handover,
            loop,
            store,
            updater,
            shadow_rows,
            boot_id=f"{random.SystemRandom().getrandbits(64):016x}",
            started_utc_s=clock.utc_s(),
        )

    def _close_source(self) -> None:
        # One that was taken over outlives an agent that could not be opened.
        if self._is_leaving or (self._is_source_lent and not self._is_wired):
            self._source.rest()
        else:
            self._source.close()

    def _close_sink(self) -> None:
        # One that answers wait in is left to the next agent.
        if self._unkept is None:
            self._own_sink.close()

    def _hand_back(self) -> Unkept:
        """Return what the disk refused; the source has gone on, so nobody would score these rows again."""
        upkeep = self._upkeep
        if upkeep is None or not self._is_finished:
            raise StorageError(f"{self._state}: housekeeping hangs, and what was scored last is not durable")
        return Unkept(upkeep.hand_back(), self._own_sink, upkeep.refusal)

    def _open_engine(self, slot: SlotName, content: Content, bundle: Bundle, meter: TrialMeter | None) -> Engine:
        try:
            # A source that is broken for every bundle is told by the loop; only a trial is judged by it.
            if meter is not None:
                self._source.verify(bundle.manifest.inputs)
        except SourceError as error:
            raise BundleError(f"the source does not give what {content.bundle} takes: {error}") from error
        return open_engine(slot, content, bundle, meter)

    def _scoring_manifest(self) -> Manifest | None:
        """Return what scores now; asked by sources that serve, so not before `run`."""
        engine = self._loop.engine
        return None if engine is None else engine.manifest

    # --- all else ----------------------------------------------------------------------------------------------------

    def _begin_upkeep(self) -> None:
        """Have all else begin once scoring has gone round; in a thread of its own, which ends with that."""
        began_s = self._clock.monotonic_s()
        while self._parts.loop.rounds == 0 and self._clock.monotonic_s() < began_s + FIRST_ROUND_S:
            if self._is_over.wait(FIRST_LOOK_S):
                break
        try:
            upkeep = self._join()
            # Rubbish of the imports goes, what they loaded stays, and only what comes is looked through from now on.
            close_archives()
            gc.collect()
            gc.freeze()
            gc.enable()
            upkeep.start()
        except Exception as error:  # noqa: BLE001 - `run` raises it
            self._failure = error
            self._parts.loop.stop()

    def _join(self) -> "Upkeep":
        """Join what is beside scoring, if it is not joined yet."""
        from edge_agent.upkeep import Upkeep

        with self._joining:
            if self._upkeep is None:
                self._upkeep = Upkeep(self._parts, self._on_round)
            return self._upkeep

    def _end_upkeep(self) -> bool:
        """End what was begun, and return whether all that was scored is durable."""
        if self._upkeep is None or self._failure is not None:
            return False
        finish_s, close_s = (HAND_OVER_S, HAND_OVER_S) if self._is_leaving else (FINISH_S, CLOSE_S)
        is_finished = self._is_finished = self._upkeep.stop(finish_s, close_s)
        if not is_finished:
            logger.warning("housekeeping did not finish in time; what is not durable will be scored again")
        return is_finished and self._parts.handover.is_durable

    def _send_the_rest(self) -> None:
        """When the source has ended and was not stopped, nobody is in a hurry: let what is durable be stored."""
        upkeep, loop = self._upkeep, self._parts.loop
        if upkeep is None:
            return
        upkeep.flush()
        ends_s = self._clock.monotonic_s() + SEND_REST_S
        while not loop.wait_for_stop(LOOK_S) and self._clock.monotonic_s() < ends_s:
            if not upkeep.is_behind:
                return

    # --- what it says of itself --------------------------------------------------------------------------------------

    @property
    def rounds(self) -> int:
        """How often the scoring loop went round."""
        return self._parts.loop.rounds

    @property
    def is_in_trial(self) -> bool:
        """Whether a bundle is on trial, which a start would count against."""
        return self._parts.updater.record.state is State.TRIAL

    def in_a_line(self) -> str:
        """Say what the agent does now."""
        from edge_agent.self_report import line_of

        upkeep = self._upkeep
        rows_scored, is_connected = (upkeep.rows_scored, upkeep.is_connected) if upkeep is not None else (0, False)
        return line_of(self._parts, rows_scored=rows_scored, is_connected=is_connected)

    def tell(self, reason: str) -> None:
        """Report an error of the agent itself."""
        self._join().tell(reason)

    def status(self, *, is_online: bool) -> "Status":
        """Return what the agent is now."""
        from edge_agent.self_report import status_of

        return status_of(self._parts, is_online=is_online)

    def live(self) -> "Live":
        """Return the agent's counters."""
        return self._join().live()

    def keep_live(self, live: "Live") -> None:
        """Put counters on the disk."""
        self._join().keep_live(live)

    def diagnose(self) -> str:
        """Tell as JSON what this agent knows of itself."""
        return self._join().diagnose()


def _start_staging(order: "StageOrder", timeout_s: float, clock: Clock) -> "Staging":
    from edge_agent.update.staging import StageProcess

    return StageProcess(order, timeout_s, clock)


def _memory_bytes(state: Path) -> int | None:
    from edge_agent.facts import read_resources

    return read_resources(state).rss_bytes or None


def _remove_leftovers(state: Path) -> None:
    """Remove what a cut left of files that were being replaced (`edge_agent.durable` names them after the file)."""
    beginnings = tuple(f".{name}." for name in (RECORD_NAME, LIVE_NAME, BALLAST_NAME))
    for path in state.iterdir():
        if path.name.startswith(beginnings):
            path.unlink(missing_ok=True)


def _free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
