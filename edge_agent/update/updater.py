"""Supervises updates: takes orders, has bundles fetched and proved, puts them on trial, commits or rolls back.

It decides nothing itself (``policy``, ``trial``) and keeps nothing in memory that a cut may not take (``ledger``): the
new record is on disk before its act begins. What each part does is said there: ``fetching``, ``trials``, ``shadows``,
``engines``. It never waits; all its work is done in `Updater.poll`, by one thread. The scoring thread is not that
thread: it is offered an opened engine and takes it between two rows.
"""

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.messages import BundleRef, Desired, Event
from edge_agent.clock import Clock
from edge_agent.errors import AgentError
from edge_agent.settings import RepositorySettings
from edge_agent.update import record as transitions
from edge_agent.update.carried_files import CarriedFiles
from edge_agent.update.engine import Engine, OpenEngine
from edge_agent.update.engines import Engines, Seat
from edge_agent.update.fetching import METADATA_FOLDER, Fetching, StartStaging
from edge_agent.update.ledger import Ledger
from edge_agent.update.patience import Patience
from edge_agent.update.policy import Answer, decide
from edge_agent.update.record import Content, Record, SlotName
from edge_agent.update.retry import Retry
from edge_agent.update.shadows import Shadows
from edge_agent.update.slots import SlotStore, was_proving
from edge_agent.update.states import State
from edge_agent.update.trials import Trials
from edge_agent.update.wishes import WishAnswer

logger = logging.getLogger(__name__)

# As by default in a trial (`edge_agent.bundle.TrialRules.max_starts`): the manifest's own word may not be trusted yet.
MAX_PROVING_STARTS: Final = 3


class Updater:
    """The updates of one device; used by one thread, but for `record` and `scoring`, which any thread may read."""

    def __init__(  # noqa: PLR0913 - the parts of it, each named by its caller
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
        read_memory: Callable[[], int | None] = lambda: None,
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
            read_memory: tells this process's resident memory in bytes; None: not known.
        """
        self._settings = settings
        self._store = store
        self._ledger = Ledger(store, clock)
        self._engines = Engines(store, self._ledger, open_engine, Retry(settings, clock, rng))
        self._fetching = Fetching(
            settings, prefer, store, state, ledger=self._ledger, start_staging=start_staging, clock=clock
        )
        self._trials = Trials(settings, self._ledger, self._engines, clock, read_memory)
        self._shadows = Shadows(
            self._ledger,
            settings.model,
            is_waiting=lambda: self._pending is not None,
            fetch=lambda order, rows: self._fetch_as(order, "", rows),
            cancel_fetching=self._fetching.cancel,
        )
        # The last order that came and has no answer yet.
        self._pending: Desired | None = None
        # Name of the update file that it came with; empty: none.
        self._pending_carried = ""
        self._carried = CarriedFiles(state)
        self._retry = Retry(settings, clock, rng)
        self._patience = Patience(state / METADATA_FOLDER)
        # The kinds of events that told that the pending order has to wait.
        self._told: set[str] = set()

    @property
    def shadows(self) -> Shadows:
        """Takes orders for a bundle in the shadow."""
        return self._shadows

    @property
    def record(self) -> Record:
        """Where the updates of this device stand."""
        return self._ledger.record

    @property
    def scoring(self) -> Content | None:
        """What really scores, which the record may not name: a stand-in, say; or what is committed, on a full disk.

        Before the first row, what shall score it.
        """
        return self._engines.scoring

    @property
    def scoring_slot(self) -> SlotName | None:
        """Where that lies."""
        return self._engines.scoring_slot

    def start(self) -> Engine | None:
        """Read where things stood, go on from there, and return the engine that shall score; None: nothing can yet.

        Raises:
            StorageError: the record cannot be read now.
        """
        loaded = self._store.load()
        record = loaded.record
        if loaded.recovery is not None:
            record = self._ledger.with_event(record, "error", loaded.recovery, severity="error")
        elif loaded.is_read:
            # A start that changes nothing writes nothing.
            self._ledger.find(record)
        # 1. Count this start before anything of a bundle is opened: opening may be what kills the process.
        self._ledger.believe(transitions.restarted(record, was_proving=self._was_proving(record)))
        self._refuse_what_ends_the_machine()
        self._pending = self.record.order if self.record.state is State.IDLE else None
        self._pending_carried = self.record.carried
        self._carried.begin_with(self._needed_files())
        # 2. A candidate that was proved must still be what was proved.
        if self.record.state is State.STAGED:
            self._trials.check_staged()
        # 3. Open what shall score. A start that could not be counted is none of a trial: that waits for the disk.
        if self.record.state is State.TRIAL and self._ledger.is_saved:
            self._trials.begin()
        else:
            self._engines.offer_committed()
        return self._engines.offered

    def start_without_engines(self) -> None:
        """Read where things stood, for a person's wish while no agent runs: nothing is opened, nothing tried.

        Raises:
            StorageError: the record cannot be read now.
        """
        self._engines.opens = False
        record = self._store.load().record
        # What is on trial or in the shadow is left to the agent, and this is no start of it.
        if record.state not in {State.TRIAL, State.SHADOW}:
            record = transitions.restarted(record, was_proving=self._was_proving(record))
        self._ledger.believe(record)

    @property
    def scoring_features(self) -> tuple[str, ...]:
        """Names of the values of the rows that are scored now, in their order."""
        engine = self._engines.scoring_engine
        return tuple(feature.name for feature in engine.manifest.features) if engine is not None else ()

    def attach(self, seat: Seat) -> None:
        """Say where engines score; the one that `start` returned must score there already."""
        self._engines.attach(seat)

    def on_carried(self, desired: Desired, carried: str) -> None:
        """Take an order that came with an update file in the inbox; `poll` deals with it."""
        self.on_desired(desired)
        self._pending_carried = carried
        # At once: a newer order may come before this one was looked at.
        self._carried.keep(self._needed_files())

    def on_desired(self, desired: Desired) -> None:
        """Take an order; `poll` deals with it."""
        is_repeated = self._pending is not None and self._pending.order_id == desired.order_id
        self._pending = desired
        if not is_repeated:
            self._pending_carried = ""
            self._retry.hurry()
            self._retry.forget_failures()
            self._patience.renew()
            self._told.clear()

    def roll_back(self, reason: str) -> WishAnswer:
        """Go back to the bundle before, because somebody says so."""
        record = self.record
        if record.state is State.TRIAL:
            self._trials.fail(f"ordered: {reason}")
            return WishAnswer(accepted=True, reason="the trial is ended")
        if record.state is State.STAGED:
            self._ledger.refuse(f"ordered: {reason}")
            return WishAnswer(accepted=True, reason="what was to be tried at the next start is not")
        if record.state not in {State.IDLE, State.SHADOW}:
            return WishAnswer(accepted=False, reason=f"an update is under way ({record.state.value}); try again")
        slot, previous, active = record.roles.previous, record.previous, record.active
        if slot is None or previous is None or active is None:
            return WishAnswer(accepted=False, reason="there is no previous bundle")
        try:
            # A bundle that was committed once may be opened before the record says so.
            engine = self._engines.open(slot, previous) if self._engines.opens else None
            if engine is None:
                self._store.load_bundle(slot, previous)
        except AgentError as error:
            return WishAnswer(accepted=False, reason=f"the previous bundle cannot be opened: {error}")
        if record.shadow_rows is not None:
            self._shadows.end(f"the device goes back to {previous.bundle}")
            record = self.record
        changed = transitions.back_ordered(record, f"rolled back by order: {reason}")
        told = f"from {active.bundle} to {previous.bundle}, ordered: {reason}"
        self._ledger.save(self._ledger.with_event(changed, "rolled_back", told, bundle=active.bundle))
        if engine is not None:
            self._engines.offer(engine)
        return WishAnswer(accepted=True, reason=f"going back to {previous.bundle}")

    def poll(self) -> None:
        """Do what can be done now without waiting.

        Raises:
            OSError: the state folder cannot be written; nothing new was begun, call again later.
        """
        if self._engines.opens:
            self._engines.poll()
        # Before the disk is asked for anything: the end of a bad trial does not need it.
        if self.record.state is State.TRIAL and self._engines.opens:
            self._trials.watch()
        self._ledger.catch_up()
        match self.record.state:
            case State.FETCHING:
                self._watch_staging()
            case State.STAGED if self._engines.opens:
                self._trials.activate()
            case State.ROLLING_BACK:
                self._trials.watch_return()
            case State.IDLE | State.SHADOW:
                self._ledger.mark_active()
        if self._pending is not None:
            self._consider(self._pending)
        self._carried.keep(self._needed_files())

    def events(self) -> tuple[Event, ...]:
        """Return the events that wait to be told, oldest first."""
        return self.record.outbox

    def events_told(self, n: int) -> None:
        """Forget the n oldest events: they are in the spool."""
        if n:
            # At once, whatever the disk says: else they would be told again and again.
            self._ledger.believe(transitions.without_events(self.record, n))

    def stop(self) -> None:
        """End what is under way; the next start goes on with it."""
        self._fetching.stop()
        if self.record.state in {State.TRIAL, State.SHADOW} and self._engines.opens:
            self._ledger.save(transitions.stopped(self.record))
        else:
            self._ledger.catch_up()

    def _was_proving(self, record: Record) -> bool:
        slot = record.roles.candidate
        return record.state is State.FETCHING and slot is not None and was_proving(self._store.folder(slot))

    def _refuse_what_ends_the_machine(self) -> None:
        """At start: give up an order in the midst of whose proofs, or a shadow in which, the machine died too often."""
        record = self.record
        if record.order is None or record.starts <= MAX_PROVING_STARTS:
            return
        if record.state is State.SHADOW:
            self._shadows.end(f"the agent had to be started {record.starts} times meanwhile", severity="error")
            return
        if record.state is not State.IDLE:
            return
        reason = f"the agent had to be started {record.starts} times while its golden rows ran here"
        changed = transitions.turned_down(record, record.order, reason)
        self._ledger.believe(self._ledger.with_event(changed, "refused", reason, severity="error", order=record.order))

    # --- orders ------------------------------------------------------------------------------------------------------

    def _consider(self, desired: Desired) -> None:
        decision = decide(desired, self.record, self._settings.model)
        match decision.answer:
            case Answer.LATER:
                return
            case Answer.ACCEPT:
                if self._retry.is_due:
                    self._fetch(desired)
                return
            case Answer.GO_BACK:
                self._trials.fail(decision.reason)
                return
            case Answer.WITHDRAW:
                self._fetching.cancel()
                self._ledger.save(transitions.withdrawn(self.record))
                return  # idle now: the order itself is answered by the next poll
            case Answer.REFUSE:
                changed = transitions.turned_down(self.record, desired, decision.reason)
                self._ledger.save(
                    self._ledger.with_event(changed, "refused", decision.reason, severity="error", order=desired)
                )
            case Answer.ALREADY_RUNNING:
                if self._engines.opens and not self._engines.offers(self.record.roles.active):
                    return  # it cannot be opened now: to say that it runs would not be true
                self._settle(desired, decision.reason)
            case Answer.REFUSED_BEFORE:
                logger.debug("order %s for %s was refused before", desired.order_id, desired.bundle)
        self._pending = None

    def _settle(self, desired: Desired, reason: str) -> None:
        if self.record.settled_order != desired.order_id:
            changed = transitions.settled(self.record, desired.order_id)
            self._ledger.save(self._ledger.with_event(changed, "committed", reason, order=desired))

    # --- fetching ----------------------------------------------------------------------------------------------------

    def _fetch(self, desired: Desired) -> None:
        if self.record.shadow_rows is not None:
            self._shadows.end(f"the slot is needed for {desired.bundle}")
        self._fetch_as(desired, self._pending_carried, None)

    def _fetch_as(self, desired: Desired, carried: str, shadow_rows: int | None) -> None:
        self._fetching.cancel()
        # The record first: from now on the candidate slot counts as empty.
        self._ledger.save(transitions.ordered(self.record, desired, carried, shadow_rows))
        try:
            self._fetching.start()
        except OSError as error:
            self._give_up(f"the process that fetches cannot be started: {error}")

    def _watch_staging(self) -> None:
        if not self._fetching.is_at_work:
            self._give_up("fetching was broken off")
            return
        report = self._fetching.poll()
        if report is None:
            return
        if self.record.shadow_rows is not None:
            self._shadows.begin(report)
            return
        order = self.record.order
        bundle = order.bundle if order is not None else BundleRef(self._settings.model, 1)
        match report.outcome:
            case "proved":
                content = Content(bundle, report.variant, report.manifest_sha256)
                changed = transitions.proved(self.record, content)
                changed = self._ledger.with_event(
                    changed, "fetched", f"{report.size_bytes} bytes (variant: {report.fetched}); {report.choice}"
                )
                self._ledger.save(self._ledger.with_event(changed, "staged", report.reason))
                self._forget_pending()
                if self._engines.opens:
                    self._trials.activate()
            case _ if self.record.carried:
                # Nothing about a file gets better by itself: whoever brought it is told, and may bring it again.
                self._forget_pending()
                self._ledger.refuse(report.reason)
            case "unreachable" | "storage":
                self._try_later(report.reason)
            case "refused" if report.may_pass:
                self._refuse_for_now(report.reason)
            case "timed_out" | "broken_off" if self._patience.has_more():
                self._try_later(report.reason)
            case _:
                self._forget_pending()
                self._ledger.refuse(report.reason)

    def _give_up(self, reason: str) -> None:
        """Take note that fetching came to nothing: an update is tried again later, a shadow is not."""
        if self.record.shadow_rows is None:
            self._try_later(reason)
        else:
            self._shadows.end(reason, severity="warning")

    def _try_later(self, reason: str) -> None:
        self._wait_with_order("error", f"trying again later: {reason}", severity="warning")

    def _refuse_for_now(self, reason: str) -> None:
        """Refuse what a copy of the repository that is behind may be to blame for: the order itself stays."""
        self._wait_with_order("refused", reason, severity="error")

    def _wait_with_order(self, kind: str, reason: str, *, severity: str) -> None:
        order = self.record.order
        self._retry.put_off()
        changed = transitions.unreachable(self.record)
        if kind not in self._told:
            # Told once; the attempts after it are for those who read the log closely.
            self._told.add(kind)
            changed = self._ledger.with_event(changed, kind, reason, severity=severity)
        else:
            logger.debug("attempt %d: %s", self._retry.failures, reason)
        self._ledger.believe(changed)
        self._pending = self._pending or order

    def _needed_files(self) -> frozenset[str]:
        """Return the ids of the update files that an order needs."""
        pending = self._pending_carried if self._pending is not None else ""
        return frozenset({self.record.carried, pending} - {""})

    def _forget_pending(self) -> None:
        """Drop the pending order if it is the one that was just carried out; a newer one stays."""
        order = self.record.order
        if order is not None and self._pending is not None and self._pending.order_id == order.order_id:
            self._pending = None
