"""Has an engine of this device's bundles score: the candidate's while it is on trial, else that of what is committed.

Which of them it is to be is not decided here (``updater``). What is committed and cannot be opened is: it gives way
where it was altered, another one stands in where it can be opened later. It never waits; the scoring thread takes an
engine that is offered between two rows, and only then is the one before it closed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from edge_agent.errors import AgentError, AlteredError, BundleError, OpeningError
from edge_agent.update import record as transitions
from edge_agent.update.engine import Engine, OpenEngine, TrialMeter
from edge_agent.update.ledger import Ledger
from edge_agent.update.record import Content, SlotName
from edge_agent.update.retry import Retry
from edge_agent.update.slots import Bundle, SlotStore
from edge_agent.update.states import State
from edge_agent.update.trial import Evidence, Outcome, judge

logger = logging.getLogger(__name__)


class Seat(Protocol):
    """Where an engine scores: the scoring loop, as the updater sees it."""

    @property
    def engine(self) -> Engine | None:
        """The engine that scores now."""
        ...

    def offer(self, engine: Engine | None) -> None:
        """Have an engine take over between two rows; None: nothing shall score."""
        ...


class Engines:
    """The engines of one device, from their opening to their end; used by one thread, but for `scoring`.

    Attributes:
        opens: whether anything shall score; not for a person's wish while no agent runs.
    """

    def __init__(self, store: SlotStore, ledger: Ledger, open_engine: OpenEngine, retry: Retry) -> None:
        """Join the parts.

        Args:
            store: the slots.
            ledger: says what lies in them, and is told what is found there.
            open_engine: opens a bundle.
            retry: when to try again what is committed and could not be opened.
        """
        self._store = store
        self._ledger = ledger
        self._open_engine = open_engine
        self._retry = retry
        self.opens = True
        self._seat: Seat | None = None
        # The engine that shall score, and all that were opened and not closed yet.
        self._offered: Engine | None = None
        self._opened: list[Engine] = []

    # --- where they score --------------------------------------------------------------------------------------------

    @property
    def offered(self) -> Engine | None:
        """The engine that was offered last."""
        return self._offered

    @property
    def is_taken(self) -> bool:
        """Whether what was offered last is what scores."""
        return self._seat is not None and self._seat.engine is self._offered

    @property
    def scoring(self) -> Content | None:
        """What scores now; while nothing does, what is offered to be the first. Any thread may read it."""
        engine = self.scoring_engine
        return engine.content if engine is not None else None

    @property
    def scoring_slot(self) -> SlotName | None:
        """Where that lies."""
        engine = self.scoring_engine
        return engine.slot if engine is not None else None

    @property
    def scoring_engine(self) -> Engine | None:
        """The engine of that."""
        engine = self._seat.engine if self._seat is not None else None
        return engine or self._offered

    def attach(self, seat: Seat) -> None:
        """Say where engines score; the one that was offered last must score there already."""
        self._seat = seat

    def offer(self, engine: Engine | None) -> None:
        """Have an engine take over; None: nothing shall score."""
        self._offered = engine
        if self._seat is not None:
            self._seat.offer(engine)

    def offers(self, slot: SlotName | None) -> bool:
        """Tell whether what was offered last is what lies in a slot."""
        engine = self._offered
        return engine is not None and (engine.slot, engine.content) == (slot, self._ledger.record.content(slot))

    def offer_committed(self) -> None:
        """Have what is committed score, or what can take its place now."""
        if self.opens:
            self.offer(self._open_committed())

    def poll(self) -> None:
        """Close what nobody needs any more; offer what could not be opened before."""
        self._close_left()
        self._offer_again()

    # --- opening -----------------------------------------------------------------------------------------------------

    def load_candidate(self) -> Bundle:
        """Read the candidate and compare it with what was proved.

        Raises:
            AgentError: it is not, or cannot be read now.
        """
        return self._load(*self._candidate())

    def open_candidate(self) -> Engine:
        """Open the candidate for its trial.

        Raises:
            AgentError: it cannot be opened, or has failed already.
        """
        slot, content = self._candidate()
        bundle = self._load(slot, content)
        # One in whose trial the process died too often is not even opened.
        verdict = judge(Evidence(0, 0, 0, None, self._ledger.record.starts, 0.0), bundle.manifest.trial)
        if verdict.outcome is Outcome.FAILED:
            raise BundleError(verdict.reason)
        return self._open_bundle(slot, content, bundle, TrialMeter(bundle.manifest.trial.rows))

    def open(self, slot: SlotName, content: Content) -> Engine:
        """Open what was committed in a slot, unless it is what was offered last.

        Raises:
            AgentError: it cannot be opened.
        """
        if self._offered is not None and self.offers(slot):
            return self._offered
        return self._open_bundle(slot, content, self._load(slot, content), None)

    def _candidate(self) -> tuple[SlotName, Content]:
        slot, content = self._ledger.record.roles.candidate, self._ledger.record.candidate
        if slot is None or content is None:
            raise AlteredError("the candidate is gone")
        return slot, content

    def _open_committed(self) -> Engine | None:
        """Open what is committed; None: nothing can be opened now.

        A bundle that was altered gives way for good to the one before it, and that one to whatever a slot says was
        committed in it. Any other failure (no memory, no file to be had, a runtime that is away) tells nothing of the
        bundle: it keeps its place and is tried again by `poll`, while the one before it stands in.
        """
        ledger = self._ledger
        altered: set[SlotName] = set()
        while True:
            slot, content = ledger.record.roles.active, ledger.record.active
            if slot is None or content is None:
                if not self._find_again(altered):
                    return None
                continue
            try:
                engine = self.open(slot, content)
            except AlteredError as error:
                altered.add(slot)
                changed = transitions.without_active(ledger.record)
                reason = f"slot {slot} cannot be opened: {error}"
                ledger.believe(ledger.with_event(changed, "error", reason, severity="error", bundle=content.bundle))
            except AgentError as error:
                return self._open_stand_in(f"slot {slot} cannot be opened now, trying again later: {error}")
            else:
                self._retry.forget_failures()
                return engine

    def _open_stand_in(self, reason: str) -> Engine | None:
        """Have the active bundle tried again later; open the one before it for the meantime."""
        self._retry.put_off()
        record = self._ledger.record
        slot, content, active = record.roles.previous, record.previous, record.active
        engine = None
        if slot is not None and content is not None:
            try:
                engine = self.open(slot, content)
            except AgentError as error:
                reason = f"{reason}; nor can slot {slot}: {error}"
            else:
                reason = f"{reason}; {content.bundle} stands in"
        if self._retry.failures > 1:
            logger.debug("attempt %d: %s", self._retry.failures, reason)
        else:
            bundle = active.bundle if active is not None else None
            self._ledger.believe(self._ledger.with_event(record, "error", reason, severity="error", bundle=bundle))
        return engine

    def _find_again(self, altered: set[SlotName]) -> bool:
        """Where the record has nothing left to run, take what the slots themselves say; return whether there is any."""
        ledger = self._ledger
        candidate = ledger.record.roles.candidate
        found = self._store.rebuilt(altered if candidate is None else altered | {candidate})
        if found.active is None:
            return False
        changed = transitions.found_again(ledger.record, found)
        reason = f"going on with {found.active.bundle}, which was committed in slot {found.roles.active} before"
        ledger.believe(ledger.with_event(changed, "error", reason, severity="error", bundle=found.active.bundle))
        return True

    def _offer_again(self) -> None:
        """Offer what is committed if it shall score and does not, because it could not be opened before."""
        record = self._ledger.record
        is_on_trial = record.state is State.TRIAL and self.offers(record.roles.candidate)
        is_offered = self._offered is None if record.roles.active is None else self.offers(record.roles.active)
        if not is_on_trial and not is_offered and self._retry.is_due:
            self.offer_committed()

    def _load(self, slot: SlotName, content: Content) -> Bundle:
        with _opening():
            return self._store.load_bundle(slot, content)

    def _open_bundle(self, slot: SlotName, content: Content, bundle: Bundle, meter: TrialMeter | None) -> Engine:
        with _opening():
            engine = self._open_engine(slot, content, bundle, meter)
        self._opened.append(engine)
        return engine

    def _close_left(self) -> None:
        """Close every engine but the one that scores, once that is the one that was offered last."""
        if not self.is_taken:
            return
        left = [engine for engine in self._opened if engine is not self._offered]
        self._opened = [engine for engine in self._opened if engine is self._offered]
        for engine in left:
            engine.close()
        if left:
            # Its memory is free again: what lacked it need not wait any longer.
            self._retry.hurry()


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
