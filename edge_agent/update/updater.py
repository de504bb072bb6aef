"""Supervises updates: takes orders, has bundles fetched and proved, puts them on trial, commits or rolls back.

It decides nothing itself (``policy``, ``trial``) and keeps nothing in memory that a cut may not take (``record``): the
new record is on disk before its act begins. It never waits; all its work is done in `Updater.poll`, by one thread. The
scoring thread is not that thread: it is offered an opened engine and takes it between two rows.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from broker.messages import BundleRef, Desired, Event
from edge_agent.clock import Clock
from edge_agent.errors import BundleError
from edge_agent.settings import RepositorySettings
from edge_agent.update import record as transitions
from edge_agent.update.engine import Engine, OpenEngine, TrialMeter
from edge_agent.update.policy import Answer, decide
from edge_agent.update.record import Content, Record, SlotName
from edge_agent.update.slots import SlotStore
from edge_agent.update.stage_messages import StageOrder, StageReport
from edge_agent.update.states import State
from edge_agent.update.trial import Evidence, Outcome, judge

logger = logging.getLogger(__name__)

METADATA_FOLDER: Final = "tuf"
MAX_TIMEOUTS: Final = 3
MAX_BACKOFF_DOUBLINGS: Final = 16


class Seat(Protocol):
    """Where an engine scores: the scoring loop, as the updater sees it."""

    @property
    def engine(self) -> Engine | None:
        """The engine that scores now."""
        ...

    def offer(self, engine: Engine | None) -> None:
        """Have an engine take over between two rows; None: nothing shall score."""
        ...


class Staging(Protocol):
    """A bundle being fetched and proved elsewhere."""

    def poll(self) -> StageReport | None:
        """Return what came of it, None while it is at work."""
        ...

    def cancel(self) -> None:
        """End it."""
        ...


StartStaging = Callable[[StageOrder, float, Clock], Staging]


@dataclass(frozen=True, slots=True)
class RollBackAnswer:
    """Whether somebody's wish to go back is granted, and why not."""

    accepted: bool
    reason: str


class Updater:
    """The updates of one device; used by one thread, but for `record`, which any thread may read."""

    def __init__(
        self,
        settings: RepositorySettings,
        prefer: tuple[str, ...],
        store: SlotStore,
        state: Path,
        *,
        start_staging: StartStaging,
        open_engine: OpenEngine,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Join the parts.

        Args:
            settings: the update repository, and how long to wait for it.
            prefer: names of variants, best first.
            store: the slots.
            state: the device's state folder.
            start_staging: starts the process that fetches and proves.
            open_engine: opens a bundle.
            clock: monotonic for pauses and trials, UTC for events.
            rng: chance for the pauses.
        """
        self._settings = settings
        self._prefer = prefer
        self._store = store
        self._state = state
        self._start_staging = start_staging
        self._open_engine = open_engine
        self._clock = clock
        self._rng = rng
        self._record = Record()
        self._seat: Seat | None = None
        self._staging: Staging | None = None
        # The last order that came and has no answer yet.
        self._pending: Desired | None = None
        self._retry_at_s = 0.0
        self._failures = 0
        self._timeouts = 0
        # The engine that shall score, and all that were opened and not closed yet.
        self._offered: Engine | None = None
        self._opened: list[Engine] = []
        self._trial_began_s: float | None = None
        # The slot that says of itself that it was committed, and as which commit.
        self._marked: tuple[SlotName | None, int] = (None, 0)

    @property
    def record(self) -> Record:
        """Where the updates of this device stand."""
        return self._record

    def start(self) -> Engine | None:
        """Read where things stood, go on from there, and return the engine that shall score; None: nothing can yet.

        Raises:
            OSError: the state folder cannot be written.
        """
        loaded = self._store.load()
        record = loaded.record
        if loaded.recovery is not None:
            record = self._with_event(record, "error", loaded.recovery, severity="error")
        # 1. Count this start before anything of a bundle is opened: opening may be what kills the process.
        self._save(transitions.restarted(record))
        self._pending = self._record.order if self._record.state is State.IDLE else None
        # 2. A candidate that was proved must still be what was proved; one that crashed too often must go.
        self._check_candidate()
        # 3. Open what shall score; what is broken gives way to what ran before it.
        self._offered = self._open_running()
        self._mark_active()
        return self._offered

    def attach(self, seat: Seat) -> None:
        """Say where engines score; the one that `start` returned must score there already."""
        self._seat = seat

    def on_desired(self, desired: Desired) -> None:
        """Take an order; `poll` deals with it."""
        is_repeated = self._pending is not None and self._pending.order_id == desired.order_id
        self._pending = desired
        if not is_repeated:
            self._retry_at_s = self._clock.monotonic_s()
            self._failures = self._timeouts = 0

    def roll_back(self, reason: str) -> RollBackAnswer:
        """Go back to the bundle before, because somebody says so."""
        record = self._record
        if record.state is State.TRIAL:
            self._fail(f"ordered: {reason}")
            return RollBackAnswer(accepted=True, reason="the trial is ended")
        if record.state is not State.IDLE:
            return RollBackAnswer(accepted=False, reason=f"an update is under way ({record.state.value}); try again")
        slot, previous, active = record.roles.previous, record.previous, record.active
        if slot is None or previous is None or active is None:
            return RollBackAnswer(accepted=False, reason="there is no previous bundle")
        try:
            # A bundle that was committed once may be opened before the record says so.
            engine = self._open(slot, previous, on_trial=False)
        except BundleError as error:
            return RollBackAnswer(accepted=False, reason=f"the previous bundle cannot be opened: {error}")
        changed = transitions.back_ordered(record, f"rolled back by order: {reason}")
        told = f"from {active.bundle} to {previous.bundle}, ordered: {reason}"
        self._save(self._with_event(changed, "rolled_back", told, bundle=active.bundle))
        self._offer(engine)
        return RollBackAnswer(accepted=True, reason=f"going back to {previous.bundle}")

    def poll(self) -> None:
        """Do what can be done now without waiting.

        Raises:
            OSError: the state folder cannot be written; nothing was done, call again later.
        """
        self._close_left_engines()
        match self._record.state:
            case State.FETCHING:
                self._watch_staging()
            case State.STAGED:
                self._activate()
            case State.TRIAL:
                self._watch_trial()
            case State.ROLLING_BACK:
                self._watch_return()
            case State.IDLE:
                self._mark_active()
        if self._pending is not None:
            self._consider(self._pending)

    def events(self) -> tuple[Event, ...]:
        """Return the events that wait to be told, oldest first."""
        return self._record.outbox

    def events_told(self, n: int) -> None:
        """Forget the n oldest events: they are in the spool."""
        if n:
            self._save(transitions.without_events(self._record, n))

    def stop(self) -> None:
        """End what is under way; the next start goes on with it."""
        if self._staging is not None:
            self._staging.cancel()
            self._staging = None
        if self._record.state is State.TRIAL:
            self._save(transitions.stopped(self._record))

    # --- orders ------------------------------------------------------------------------------------------------------

    def _consider(self, desired: Desired) -> None:
        decision = decide(desired, self._record, self._settings.model)
        match decision.answer:
            case Answer.LATER:
                return
            case Answer.ACCEPT:
                if self._clock.monotonic_s() >= self._retry_at_s:
                    self._fetch(desired)
                return
            case Answer.GO_BACK:
                self._fail(decision.reason)
                return
            case Answer.WITHDRAW:
                self._cancel_staging()
                self._save(transitions.withdrawn(self._record))
                return  # idle now: the order itself is answered by the next poll
            case Answer.REFUSE:
                changed = transitions.turned_down(self._record, desired, decision.reason)
                self._save(self._with_event(changed, "refused", decision.reason, severity="error", order=desired))
            case Answer.ALREADY_RUNNING:
                if self._record.settled_order != desired.order_id:
                    changed = transitions.settled(self._record, desired.order_id)
                    self._save(self._with_event(changed, "committed", decision.reason, order=desired))
            case Answer.REFUSED_BEFORE:
                logger.debug("order %s for %s was refused before", desired.order_id, desired.bundle)
        self._pending = None

    # --- fetching ----------------------------------------------------------------------------------------------------

    def _fetch(self, desired: Desired) -> None:
        self._cancel_staging()
        # The record first: from now on the candidate slot counts as empty.
        self._save(transitions.ordered(self._record, desired))
        slot = self._record.roles.candidate
        if slot is None:
            return
        logger.info("order %s: fetching %s into slot %s", desired.order_id, desired.bundle, slot)
        order = StageOrder(
            bundle=desired.bundle,
            url=self._settings.url,
            root=self._settings.root,
            metadata=str(self._state / METADATA_FOLDER),
            slot=str(self._store.folder(slot)),
            prefer=self._prefer,
            timeout_s=self._settings.timeout_s,
            spare_disk_bytes=self._settings.spare_disk_bytes,
        )
        try:
            self._staging = self._start_staging(order, self._settings.stage_timeout_s, self._clock)
        except OSError as error:
            self._try_later(f"the process that fetches cannot be started: {error}")

    def _watch_staging(self) -> None:
        report = None if self._staging is None else self._staging.poll()
        if report is None:
            if self._staging is None:
                self._try_later("fetching was broken off")
            return
        self._staging = None
        order = self._record.order
        bundle = order.bundle if order is not None else BundleRef(self._settings.model, 1)
        match report.outcome:
            case "proved":
                content = Content(bundle, report.variant, report.manifest_sha256)
                changed = transitions.proved(self._record, content)
                changed = self._with_event(changed, "fetched", f"{report.size_bytes} bytes; {report.choice}")
                self._save(self._with_event(changed, "staged", report.reason))
                self._forget_pending()
                self._activate()
            case "unreachable" | "storage":
                self._try_later(report.reason)
            case "timed_out" if self._timeouts + 1 < MAX_TIMEOUTS:
                self._timeouts += 1
                self._try_later(report.reason)
            case _:
                self._forget_pending()
                self._refuse(report.reason)

    def _try_later(self, reason: str) -> None:
        order = self._record.order
        pause_s = min(
            self._settings.retry_max_s,
            self._settings.retry_min_s * 2.0 ** min(self._failures, MAX_BACKOFF_DOUBLINGS),
        )
        # Between half of the pause and all of it, so that a fleet does not come back at once.
        self._retry_at_s = self._clock.monotonic_s() + pause_s * self._rng.uniform(0.5, 1.0)
        self._failures += 1
        changed = transitions.unreachable(self._record)
        if self._failures == 1:
            # Told once; the attempts after it are for those who read the log closely.
            changed = self._with_event(changed, "error", f"trying again later: {reason}", severity="warning")
        else:
            logger.debug("attempt %d: %s", self._failures, reason)
        self._save(changed)
        self._pending = self._pending or order

    def _refuse(self, reason: str) -> None:
        changed = transitions.refused(self._record, reason)
        self._save(self._with_event(changed, "refused", reason, severity="error", order=self._record.order))

    def _cancel_staging(self) -> None:
        if self._staging is not None:
            self._staging.cancel()
            self._staging = None

    def _forget_pending(self) -> None:
        """Drop the pending order if it is the one that was just carried out; a newer one stays."""
        order = self._record.order
        if order is not None and self._pending is not None and self._pending.order_id == order.order_id:
            self._pending = None

    # --- trial -------------------------------------------------------------------------------------------------------

    def _activate(self) -> None:
        content, slot = self._record.candidate, self._record.roles.candidate
        if content is None or slot is None:
            self._refuse("the proved bundle is gone")
            return
        changed = transitions.activated(self._record)
        self._save(self._with_event(changed, "activated", f"{content.variant} in slot {slot} is on trial"))
        try:
            engine = self._open(slot, content, on_trial=True)
        except BundleError as error:
            self._fail(f"cannot be opened: {error}")
            return
        self._trial_began_s = None
        self._offer(engine)

    def _watch_trial(self) -> None:
        engine = self._offered
        if engine is None or engine.meter is None or self._seat is None or self._seat.engine is not engine:
            return
        now_s = self._clock.monotonic_s()
        if self._trial_began_s is None:
            self._trial_began_s = now_s
        evidence = engine.meter.evidence(self._record.starts, now_s - self._trial_began_s)
        verdict = judge(evidence, engine.manifest.trial)
        if verdict.outcome is Outcome.HEALTHY:
            changed = transitions.committed(self._record)
            self._save(self._with_event(changed, "committed", verdict.reason, order=self._record.order))
            self._mark_active()
        elif verdict.outcome is Outcome.FAILED:
            self._fail(verdict.reason)

    def _fail(self, reason: str) -> None:
        """End the trial: the active slot shall score again."""
        self._give_up_candidate(reason)
        self._offer(self._open_running())

    def _give_up_candidate(self, reason: str) -> None:
        changed = transitions.failed(self._record, reason)
        told = f"to {changed.active.bundle if changed.active is not None else 'no bundle'}: {reason}"
        self._save(self._with_event(changed, "rolled_back", told, severity="error", order=self._record.order))

    def _watch_return(self) -> None:
        if self._seat is not None and self._seat.engine is self._offered:
            self._save(transitions.restored(self._record))

    # --- engines -----------------------------------------------------------------------------------------------------

    def _check_candidate(self) -> None:
        """At start: refuse or give up a candidate that is broken or took the process down too often."""
        slot, content = self._record.roles.candidate, self._record.candidate
        if self._record.state not in {State.STAGED, State.TRIAL}:
            return
        if slot is None or content is None:
            self._end_candidate_at_start("the candidate is gone")
            return
        try:
            bundle = self._store.load_bundle(slot, content)
        except BundleError as error:
            self._end_candidate_at_start(str(error))
            return
        verdict = judge(Evidence(0, 0, 0, None, self._record.starts, 0.0), bundle.manifest.trial)
        if self._record.state is State.TRIAL and verdict.outcome is Outcome.FAILED:
            self._end_candidate_at_start(verdict.reason)

    def _end_candidate_at_start(self, reason: str) -> None:
        if self._record.state is State.STAGED:
            self._refuse(reason)
            return
        self._give_up_candidate(reason)
        # Nothing scores yet: what is opened next is the active slot.
        self._save(transitions.restored(self._record))

    def _open_running(self) -> Engine | None:
        """Open what shall score; a broken bundle gives way to the one before it, until there is none."""
        while True:
            slot, content = self._record.running_slot, self._record.running
            if slot is None or content is None:
                return None
            try:
                return self._open(slot, content, on_trial=self._record.state is State.TRIAL)
            except BundleError as error:
                reason = f"slot {slot} cannot be opened: {error}"
            if self._record.state is State.TRIAL:
                self._end_candidate_at_start(reason)
                continue
            changed = transitions.without_active(self._record)
            self._save(self._with_event(changed, "error", reason, severity="error", bundle=content.bundle))

    def _open(self, slot: SlotName, content: Content, *, on_trial: bool) -> Engine:
        bundle = self._store.load_bundle(slot, content)
        meter = TrialMeter(bundle.manifest.trial.rows) if on_trial else None
        engine = self._open_engine(slot, content, bundle, meter)
        self._opened.append(engine)
        return engine

    def _offer(self, engine: Engine | None) -> None:
        self._offered = engine
        if self._seat is not None:
            self._seat.offer(engine)

    def _close_left_engines(self) -> None:
        """Close every engine but the one that scores, once that is the one that was offered last."""
        if self._seat is None or self._seat.engine is not self._offered:
            return
        left = [engine for engine in self._opened if engine is not self._offered]
        self._opened = [engine for engine in self._opened if engine is self._offered]
        for engine in left:
            engine.close()

    def _mark_active(self) -> None:
        """Leave word in the active slot that it was committed, for the day when the record is lost."""
        slot, content, number = self._record.roles.active, self._record.active, self._record.commits
        if slot is not None and content is not None and self._marked != (slot, number):
            self._store.mark_committed(slot, content, number)
            self._marked = (slot, number)

    # --- record ------------------------------------------------------------------------------------------------------

    def _save(self, record: Record) -> None:
        """Make a record durable, then believe it; if that fails, nothing has changed."""
        news = [event for event in record.outbox if event not in self._record.outbox]
        self._store.save(record)
        self._record = record
        for event in news:
            level = {"info": logging.INFO, "warning": logging.WARNING}.get(event.severity, logging.ERROR)
            logger.log(level, "%s%s: %s", event.kind, f" {event.bundle}" if event.bundle else "", event.reason)

    def _with_event(
        self,
        record: Record,
        kind: str,
        reason: str,
        *,
        severity: str = "info",
        bundle: BundleRef | None = None,
        order: Desired | None = None,
    ) -> Record:
        """Return the record with an event of what changed in it; both become durable together."""
        order = order or record.order
        event = Event(
            kind=kind,
            at_utc_s=self._clock.utc_s(),
            severity=severity,
            reason=reason[: transitions.MAX_REASON],
            bundle=bundle or (order.bundle if order is not None else None),
            order_id=order.order_id if order is not None else None,
        )
        return transitions.with_event(record, event)
