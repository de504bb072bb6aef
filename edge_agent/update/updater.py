"""Supervises updates: takes orders, has bundles fetched and proved, puts them on trial, commits or rolls back.

It decides nothing itself (``policy``, ``trial``) and keeps nothing in memory that a cut may not take (``record``): the
new record is on disk before its act begins. Only the way back to what is committed does not wait for the disk: a bundle
that failed its trial must not go on because the disk is full. It never waits; all its work is done in `Updater.poll`,
by one thread. The scoring thread is not that thread: it is offered an opened engine and takes it between two rows.
"""

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from broker.messages import BundleRef, Desired, Event
from edge_agent.clock import Clock
from edge_agent.errors import AgentError, AlteredError, BundleError, OpeningError
from edge_agent.settings import RepositorySettings
from edge_agent.update import record as transitions
from edge_agent.update.engine import Engine, OpenEngine, TrialMeter
from edge_agent.update.policy import Answer, decide
from edge_agent.update.record import Content, Record, SlotName
from edge_agent.update.slots import Bundle, SlotStore
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
        # Whether the record is on the disk as well; nothing is begun on one that is not.
        self._is_saved = True
        self._seat: Seat | None = None
        self._staging: Staging | None = None
        # The last order that came and has no answer yet.
        self._pending: Desired | None = None
        self._retry_at_s = 0.0
        self._failures = 0
        self._timeouts = 0
        # The kinds of events that told that the pending order has to wait.
        self._told: set[str] = set()
        # When to try again what is committed and could not be opened, and how often that failed in a row.
        self._open_at_s = 0.0
        self._open_failures = 0
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
            StorageError: the record cannot be read now.
        """
        loaded = self._store.load()
        record = loaded.record
        if loaded.recovery is not None:
            record = self._with_event(record, "error", loaded.recovery, severity="error")
        # 1. Count this start before anything of a bundle is opened: opening may be what kills the process.
        self._believe(transitions.restarted(record))
        self._pending = self._record.order if self._record.state is State.IDLE else None
        # 2. A candidate that was proved must still be what was proved.
        if self._record.state is State.STAGED:
            self._check_staged()
        # 3. Open what shall score. A start that could not be counted is none of a trial: that waits for the disk.
        if self._record.state is State.TRIAL and self._is_saved:
            self._begin_trial()
        else:
            self._offer(self._open_committed())
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
            self._told.clear()

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
            engine = self._open(slot, previous)
        except AgentError as error:
            return RollBackAnswer(accepted=False, reason=f"the previous bundle cannot be opened: {error}")
        changed = transitions.back_ordered(record, f"rolled back by order: {reason}")
        told = f"from {active.bundle} to {previous.bundle}, ordered: {reason}"
        self._save(self._with_event(changed, "rolled_back", told, bundle=active.bundle))
        self._offer(engine)
        return RollBackAnswer(accepted=True, reason=f"going back to {previous.bundle}")

    def poll(self) -> None:
        """Do what can be done now without waiting.

        Raises:
            OSError: the state folder cannot be written; nothing new was begun, call again later.
        """
        self._close_left_engines()
        self._open_again()
        # Before the disk is asked for anything: the end of a bad trial does not need it.
        if self._record.state is State.TRIAL:
            self._watch_trial()
        if not self._is_saved:
            self._save(self._record)
        match self._record.state:
            case State.FETCHING:
                self._watch_staging()
            case State.STAGED:
                self._activate()
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
            # At once, whatever the disk says: else they would be told again and again.
            self._believe(transitions.without_events(self._record, n))

    def stop(self) -> None:
        """End what is under way; the next start goes on with it."""
        if self._staging is not None:
            self._staging.cancel()
            self._staging = None
        if self._record.state is State.TRIAL:
            self._save(transitions.stopped(self._record))
        elif not self._is_saved:
            self._save(self._record)

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
                if not self._offers(self._record.roles.active):
                    return  # it cannot be opened now: to say that it runs would not be true
                self._settle(desired, decision.reason)
            case Answer.REFUSED_BEFORE:
                logger.debug("order %s for %s was refused before", desired.order_id, desired.bundle)
        self._pending = None

    def _settle(self, desired: Desired, reason: str) -> None:
        if self._record.settled_order != desired.order_id:
            changed = transitions.settled(self._record, desired.order_id)
            self._save(self._with_event(changed, "committed", reason, order=desired))

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
            case "refused" if report.may_pass:
                self._refuse_for_now(report.reason)
            case "timed_out" | "broken_off" if self._timeouts + 1 < MAX_TIMEOUTS:
                self._timeouts += 1
                self._try_later(report.reason)
            case _:
                self._forget_pending()
                self._refuse(report.reason)

    def _try_later(self, reason: str) -> None:
        self._wait_with_order("error", f"trying again later: {reason}", severity="warning")

    def _refuse_for_now(self, reason: str) -> None:
        """Refuse what a copy of the repository that is behind may be to blame for: the order itself stays."""
        self._wait_with_order("refused", reason, severity="error")

    def _wait_with_order(self, kind: str, reason: str, *, severity: str) -> None:
        order = self._record.order
        self._retry_at_s = self._clock.monotonic_s() + self._pause_s(self._failures)
        self._failures += 1
        changed = transitions.unreachable(self._record)
        if kind not in self._told:
            # Told once; the attempts after it are for those who read the log closely.
            self._told.add(kind)
            changed = self._with_event(changed, kind, reason, severity=severity)
        else:
            logger.debug("attempt %d: %s", self._failures, reason)
        self._believe(changed)
        self._pending = self._pending or order

    def _pause_s(self, failures: int) -> float:
        """Return how long to wait after so many failures before this one."""
        pause_s = min(
            self._settings.retry_max_s,
            self._settings.retry_min_s * 2.0 ** min(failures, MAX_BACKOFF_DOUBLINGS),
        )
        # Between half of the pause and all of it, so that a fleet does not come back at once.
        return pause_s * self._rng.uniform(0.5, 1.0)

    def _refuse(self, reason: str) -> None:
        changed = transitions.refused(self._record, reason)
        self._believe(self._with_event(changed, "refused", reason, severity="error", order=self._record.order))

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
        self._begin_trial()

    def _begin_trial(self) -> None:
        """Open the candidate and have it score; whatever keeps it from that is its failure."""
        slot, content = self._record.roles.candidate, self._record.candidate
        self._trial_began_s = None
        try:
            engine = self._open_candidate(slot, content)
        except AgentError as error:
            self._fail(f"cannot run: {error}")
            return
        self._offer(engine)

    def _watch_trial(self) -> None:
        engine = self._offered
        if engine is None or engine.meter is None or not self._offers(self._record.roles.candidate):
            # The agent started while its disk was full, and what is committed scores so far.
            if self._is_saved:
                self._begin_trial()
            return
        if self._seat is None or self._seat.engine is not engine:
            return
        now_s = self._clock.monotonic_s()
        if self._trial_began_s is None:
            self._trial_began_s = now_s
        evidence = engine.meter.evidence(self._record.starts, now_s - self._trial_began_s)
        verdict = judge(evidence, engine.manifest.trial)
        if verdict.outcome is Outcome.HEALTHY:
            changed = transitions.committed(self._record)
            self._save(self._with_event(changed, "committed", verdict.reason, order=self._record.order))
            engine.meter = None
            self._mark_active()
        elif verdict.outcome is Outcome.FAILED:
            self._fail(verdict.reason)

    def _fail(self, reason: str) -> None:
        """End the trial: what is committed shall score again."""
        # The act before the record, here alone: a cut between them repeats the trial, a full disk does not prolong it.
        self._offer(self._open_committed())
        changed = transitions.failed(self._record, reason)
        told = f"to {changed.active.bundle if changed.active is not None else 'no bundle'}: {reason}"
        self._believe(self._with_event(changed, "rolled_back", told, severity="error", order=self._record.order))

    def _watch_return(self) -> None:
        # Where the active bundle cannot be opened now, the one that stands in or none at all: orders may mend that.
        is_committed = self._offered is None or self._offered.meter is None
        if is_committed and self._seat is not None and self._seat.engine is self._offered:
            self._save(transitions.restored(self._record))

    # --- engines -----------------------------------------------------------------------------------------------------

    def _check_staged(self) -> None:
        """At start: refuse a candidate that was proved and is no longer what was proved."""
        slot, content = self._record.roles.candidate, self._record.candidate
        if slot is None or content is None:
            self._refuse("the candidate is gone")
            return
        try:
            self._load(slot, content)
        except AgentError as error:
            self._refuse(str(error))

    def _open_candidate(self, slot: SlotName | None, content: Content | None) -> Engine:
        if slot is None or content is None:
            raise AlteredError("the candidate is gone")
        bundle = self._load(slot, content)
        # One in whose trial the process died too often is not even opened.
        verdict = judge(Evidence(0, 0, 0, None, self._record.starts, 0.0), bundle.manifest.trial)
        if verdict.outcome is Outcome.FAILED:
            raise BundleError(verdict.reason)
        return self._open_bundle(slot, content, bundle, TrialMeter(bundle.manifest.trial.rows))

    def _open_committed(self) -> Engine | None:
        """Open what is committed; None: nothing can be opened now.

        A bundle that was altered gives way for good to the one before it, and that one to whatever a slot says was
        committed in it. Any other failure (no memory, no file to be had, a runtime that is away) tells nothing of the
        bundle: it keeps its place and is tried again by `poll`, while the one before it stands in.
        """
        altered: set[SlotName] = set()
        while True:
            slot, content = self._record.roles.active, self._record.active
            if slot is None or content is None:
                if not self._find_again(altered):
                    return None
                continue
            try:
                engine = self._open(slot, content)
            except AlteredError as error:
                altered.add(slot)
                changed = transitions.without_active(self._record)
                reason = f"slot {slot} cannot be opened: {error}"
                self._believe(self._with_event(changed, "error", reason, severity="error", bundle=content.bundle))
            except AgentError as error:
                return self._open_stand_in(f"slot {slot} cannot be opened now, trying again later: {error}")
            else:
                self._open_failures = 0
                return engine

    def _open_stand_in(self, reason: str) -> Engine | None:
        """Have the active bundle tried again later; open the one before it for the meantime."""
        self._open_at_s = self._clock.monotonic_s() + self._pause_s(self._open_failures)
        self._open_failures += 1
        slot, content, active = self._record.roles.previous, self._record.previous, self._record.active
        engine = None
        if slot is not None and content is not None:
            try:
                engine = self._open(slot, content)
            except AgentError as error:
                reason = f"{reason}; nor can slot {slot}: {error}"
            else:
                reason = f"{reason}; {content.bundle} stands in"
        if self._open_failures > 1:
            logger.debug("attempt %d: %s", self._open_failures, reason)
        else:
            bundle = active.bundle if active is not None else None
            self._believe(self._with_event(self._record, "error", reason, severity="error", bundle=bundle))
        return engine

    def _find_again(self, altered: set[SlotName]) -> bool:
        """Where the record has nothing left to run, take what the slots themselves say; return whether there is any."""
        candidate = self._record.roles.candidate
        found = self._store.rebuilt(altered if candidate is None else altered | {candidate})
        if found.active is None:
            return False
        changed = transitions.found_again(self._record, found)
        reason = f"going on with {found.active.bundle}, which was committed in slot {found.roles.active} before"
        self._believe(self._with_event(changed, "error", reason, severity="error", bundle=found.active.bundle))
        return True

    def _open_again(self) -> None:
        """Offer what is committed if it shall score and does not, because it could not be opened before."""
        roles = self._record.roles
        is_on_trial = self._record.state is State.TRIAL and self._offers(roles.candidate)
        is_offered = self._offered is None if roles.active is None else self._offers(roles.active)
        if not is_on_trial and not is_offered and self._clock.monotonic_s() >= self._open_at_s:
            self._offer(self._open_committed())

    def _open(self, slot: SlotName, content: Content) -> Engine:
        """Open what is committed in a slot, unless it is what was offered last."""
        if self._offered is not None and self._offers(slot):
            return self._offered
        return self._open_bundle(slot, content, self._load(slot, content), None)

    def _load(self, slot: SlotName, content: Content) -> Bundle:
        with _opening():
            return self._store.load_bundle(slot, content)

    def _open_bundle(self, slot: SlotName, content: Content, bundle: Bundle, meter: TrialMeter | None) -> Engine:
        with _opening():
            engine = self._open_engine(slot, content, bundle, meter)
        self._opened.append(engine)
        return engine

    def _offers(self, slot: SlotName | None) -> bool:
        """Whether what was offered last is what lies in a slot."""
        engine = self._offered
        return engine is not None and (engine.slot, engine.content) == (slot, self._record.content(slot))

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
        if left:
            # Its memory is free again: what lacked it need not wait any longer.
            self._open_at_s = self._clock.monotonic_s()

    def _mark_active(self) -> None:
        """Leave word in the active slot that it was committed, for the day when the record is lost."""
        slot, content, number = self._record.roles.active, self._record.active, self._record.commits
        if slot is not None and content is not None and self._marked != (slot, number):
            self._store.mark_committed(slot, content, number)
            self._marked = (slot, number)

    # --- record ------------------------------------------------------------------------------------------------------

    def _save(self, record: Record) -> None:
        """Make a record durable, then believe it; if that fails, nothing has changed."""
        self._store.save(record)
        self._is_saved = True
        self._take(record)

    def _believe(self, record: Record) -> None:
        """Believe a record, and make it durable as soon as the disk takes it: now, or in a later `poll`."""
        try:
            self._save(record)
        except OSError as error:
            logger.warning("the record of updates cannot be saved now: %s", error)
            self._is_saved = False
            self._take(record)

    def _take(self, record: Record) -> None:
        news = [event for event in record.outbox if event not in self._record.outbox]
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


@contextmanager
def _opening() -> Iterator[None]:
    """Make one of ours of whatever opening a bundle raises: a runtime's own error, or that there is no memory."""
    try:
        yield
    except AgentError:
        raise
    except Exception as error:
        logger.warning("opening a bundle: a surprise", exc_info=error)
        raise OpeningError(str(error) or type(error).__name__) from error
