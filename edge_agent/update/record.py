"""What an update remembers across any cut, and how each happening changes it.

Every change is a function from a record to the next one and asks the table of ``states`` first. The record is one
value, so that writing it is one atomic rename; events that tell of a change are part of it until the spool has them.
"""

from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from broker.messages import BundleRef, Desired, Event
from edge_agent.update.states import Happening, State, next_state

SlotName = Literal["a", "b", "c"]
SLOTS: Final[tuple[SlotName, ...]] = get_args(SlotName)
MAX_REFUSALS: Final = 32
MAX_OUTBOX: Final = 64
MAX_REASON: Final = 2048
INSTALLED_SINCE: Final = "another bundle was installed by hand since; a new order is obeyed"


class Content(Struct, frozen=True):
    """What lies in a slot: the bundle, the one variant that was fetched, and the hash of its manifest (hex SHA-256)."""

    bundle: BundleRef
    variant: str
    manifest_sha256: str


class Slots(Struct, frozen=True):
    """The contents of the three slots; None: empty or not proved."""

    a: Content | None = None
    b: Content | None = None
    c: Content | None = None


class Roles(Struct, frozen=True):
    """Which slot plays which part.

    Attributes:
        active: the committed bundle.
        previous: the one committed before it.
        candidate: being filled, proved, or on trial.
    """

    active: SlotName | None = None
    previous: SlotName | None = None
    candidate: SlotName | None = None


class Refusal(Struct, frozen=True):
    """A bundle that was refused or rolled back: not tried again under this order."""

    bundle: BundleRef
    order_id: str
    reason: str


class Record(Struct, frozen=True):
    """The updater's memory.

    Attributes:
        order: the order under way; None in state idle, unless it shall be tried again.
        starts: unclean starts of the agent during this trial, or during the proofs of the order under way.
        commits: how often a bundle became active; written beside it, it tells the newest one.
        settled_order: the last order that got its answer.
        outbox: events that the spool does not have yet.
        shadow_rows: not None: the order under way is for a shadow, which ends after so many rows (0: never).
        carried: name of the update file in the inbox that the order under way is fetched from; empty: the repository.
    """

    format: Literal[1] = 1
    state: State = State.IDLE
    roles: Roles = Roles()
    slots: Slots = Slots()
    order: Desired | None = None
    starts: int = 0
    commits: int = 0
    refusals: tuple[Refusal, ...] = ()
    settled_order: str = ""
    outbox: tuple[Event, ...] = ()
    carried: str = ""
    shadow_rows: int | None = None

    @property
    def running_slot(self) -> SlotName | None:
        """The slot that shall score: the candidate while it is on trial, else the active one."""
        return self.roles.candidate if self.state is State.TRIAL else self.roles.active

    @property
    def running(self) -> Content | None:
        """What shall score; what does, only the updater knows (`Updater.scoring`)."""
        return self.content(self.running_slot)

    @property
    def active(self) -> Content | None:
        """The committed bundle."""
        return self.content(self.roles.active)

    @property
    def previous(self) -> Content | None:
        """The bundle committed before the active one."""
        return self.content(self.roles.previous)

    @property
    def candidate(self) -> Content | None:
        """The bundle that is proved or on trial."""
        return self.content(self.roles.candidate)

    def content(self, slot: SlotName | None) -> Content | None:
        """Return what lies in a slot."""
        return {None: None, "a": self.slots.a, "b": self.slots.b, "c": self.slots.c}[slot]


def free_slot(roles: Roles) -> SlotName:
    """Return a slot that a candidate may be written to: never the active or the previous one."""
    return next(slot for slot in SLOTS if slot not in {roles.active, roles.previous})


def with_event(record: Record, event: Event) -> Record:
    """Return the record with one more event to tell; over the bound the oldest are given up."""
    return msgspec.structs.replace(record, outbox=(*record.outbox, event)[-MAX_OUTBOX:])


def without_events(record: Record, told: int) -> Record:
    """Return the record without its `told` oldest events."""
    return msgspec.structs.replace(record, outbox=record.outbox[told:])


def ordered(record: Record, order: Desired, carried: str = "", shadow_rows: int | None = None) -> Record:
    """An order was accepted: a free slot becomes the candidate, and counts as empty from now on.

    Args:
        record: before.
        order: what was ordered.
        shadow_rows: not None: the order under way is for a shadow, which ends after so many rows (0: never).
        carried: name of the update file that it is fetched from; empty: from the repository.
        shadow_rows: as in `Record`.
    """
    state = next_state(record.state, Happening.ORDERED)
    slot = free_slot(record.roles)
    roles = msgspec.structs.replace(record.roles, candidate=slot)
    slots = _put(record.slots, slot, None)
    is_repeated = record.order is not None and record.order.order_id == order.order_id
    return msgspec.structs.replace(
        record,
        state=state,
        roles=roles,
        slots=slots,
        order=order,
        starts=record.starts if is_repeated else 0,
        carried=carried,
        shadow_rows=shadow_rows,
    )


def proved(record: Record, content: Content) -> Record:
    """The candidate slot holds a bundle that passed every check."""
    state = next_state(record.state, Happening.PROVED)
    return msgspec.structs.replace(record, state=state, slots=_put(record.slots, record.roles.candidate, content))


def shadowed(record: Record, content: Content) -> Record:
    """The candidate slot holds a bundle that passed every check and is to score in the shadow."""
    state = next_state(record.state, Happening.SHADOWED)
    slots = _put(record.slots, record.roles.candidate, content)
    return msgspec.structs.replace(record, state=state, slots=slots, starts=0)


def shadow_proved_itself(record: Record) -> Record:
    """The shadow was at work for a while: the starts before are not held against it."""
    return msgspec.structs.replace(record, starts=0)


def shadow_ended(record: Record) -> Record:
    """There is no shadow any more, or there will be none; orders to run a bundle are not touched."""
    state = next_state(record.state, Happening.WITHDRAWN)
    return msgspec.structs.replace(_without_candidate(record), state=state, order=None, starts=0, shadow_rows=None)


def refused(record: Record, reason: str) -> Record:
    """The order under way cannot be carried out; it is not tried again."""
    state = next_state(record.state, Happening.REFUSED)
    return msgspec.structs.replace(_settled(_with_refused_order(record, reason)), state=state)


def unreachable(record: Record) -> Record:
    """What is ordered cannot be had now: the order is kept for later."""
    state = next_state(record.state, Happening.UNREACHABLE)
    return msgspec.structs.replace(_without_candidate(record), state=state)


def withdrawn(record: Record) -> Record:
    """The order under way is no longer wanted."""
    state = next_state(record.state, Happening.WITHDRAWN)
    return _settled(msgspec.structs.replace(record, state=state))


def activated(record: Record) -> Record:
    """The candidate takes over; its trial begins."""
    return msgspec.structs.replace(record, state=next_state(record.state, Happening.ACTIVATED), starts=0)


def committed(record: Record) -> Record:
    """The trial ended well: candidate becomes active, active becomes previous."""
    state = next_state(record.state, Happening.HEALTHY)
    roles = Roles(active=record.roles.candidate, previous=record.roles.active)
    refusals = record.refusals
    if record.carried and record.active is not None:
        # The order before it is retained by the broker and comes again: it must not undo what a person did since.
        refusals = _with(refusals, Refusal(record.active.bundle, record.settled_order, INSTALLED_SINCE))
    changed = msgspec.structs.replace(record, state=state, roles=roles, commits=record.commits + 1, refusals=refusals)
    return _settled(changed)


def failed(record: Record, reason: str) -> Record:
    """The trial ended badly: the active slot shall score again."""
    state = next_state(record.state, Happening.FAILED)
    return msgspec.structs.replace(_settled(_with_refused_order(record, reason)), state=state)


def back_ordered(record: Record, reason: str) -> Record:
    """Somebody wants the previous bundle back: it becomes active, and what was active is not tried again."""
    state = next_state(record.state, Happening.BACK_ORDERED)
    roles = Roles(active=record.roles.previous)
    refusals = record.refusals
    if record.active is not None:
        refusals = _with(refusals, Refusal(record.active.bundle, record.settled_order, reason))
    return msgspec.structs.replace(
        record,
        state=state,
        roles=roles,
        refusals=refusals,
        order=None,
        commits=record.commits + 1,
        carried="",
        shadow_rows=None,
    )


def restored(record: Record) -> Record:
    """The active slot scores again."""
    return msgspec.structs.replace(record, state=next_state(record.state, Happening.RESTORED))


def restarted(record: Record, *, was_proving: bool = False) -> Record:
    """The agent was started anew; a start in the midst of a trial is counted, for it may have been a crash.

    Args:
        record: before.
        was_proving: it was in the midst of the first run of a bundle here, which may have taken the machine down.
    """
    state = next_state(record.state, Happening.RESTARTED)
    starts = record.starts + 1 if state in {State.TRIAL, State.SHADOW} else 0
    if record.state is State.FETCHING and record.shadow_rows is not None:
        # A shadow is asked for by somebody who is there, and may be asked for again.
        return msgspec.structs.replace(_without_candidate(record), state=state, order=None, starts=0, shadow_rows=None)
    if record.state is State.FETCHING:
        # They count against the order, which is tried again.
        starts = record.starts + was_proving
        record = _without_candidate(record)
    elif record.state is State.IDLE and record.order is not None:
        starts = record.starts
    return msgspec.structs.replace(record, state=state, starts=starts)


def stopped(record: Record) -> Record:
    """The agent stops because it was asked to: the next start is not to be counted as one after a crash."""
    is_counted = record.state in {State.TRIAL, State.SHADOW}
    return msgspec.structs.replace(record, starts=record.starts - 1) if is_counted else record


def settled(record: Record, order_id: str) -> Record:
    """An order got its answer without an update."""
    return msgspec.structs.replace(record, settled_order=order_id)


def turned_down(record: Record, order: Desired, reason: str) -> Record:
    """An order is refused before anything is fetched (again)."""
    refusals = _with(record.refusals, Refusal(order.bundle, order.order_id, reason))
    changed = msgspec.structs.replace(record, refusals=refusals, settled_order=order.order_id)
    is_kept = record.order is not None and record.order.order_id == order.order_id
    return msgspec.structs.replace(changed, order=None, starts=0, carried="") if is_kept else changed


def without_active(record: Record) -> Record:
    """The active slot is broken: the previous bundle, if any, takes its place."""
    slots = _put(record.slots, record.roles.active, None)
    roles = Roles(active=record.roles.previous, candidate=record.roles.candidate)
    return msgspec.structs.replace(record, slots=slots, roles=roles)


def found_again(record: Record, found: Record) -> Record:
    """The record names nothing that can run: what the slots themselves say was committed takes that place."""
    roles = msgspec.structs.replace(found.roles, candidate=record.roles.candidate)
    slots = _put(found.slots, record.roles.candidate, record.candidate)
    return msgspec.structs.replace(record, roles=roles, slots=slots, commits=max(record.commits, found.commits))


def _with_refused_order(record: Record, reason: str) -> Record:
    order = record.order
    if order is None:
        return record
    refusals = _with(record.refusals, Refusal(order.bundle, order.order_id, reason))
    return msgspec.structs.replace(record, refusals=refusals)


def _with(refusals: tuple[Refusal, ...], refusal: Refusal) -> tuple[Refusal, ...]:
    """Return the refusals with one more; the oldest give way, for orders are not repeated for ever."""
    return (*refusals, msgspec.structs.replace(refusal, reason=refusal.reason[:MAX_REASON]))[-MAX_REFUSALS:]


def _settled(record: Record) -> Record:
    order_id = record.order.order_id if record.order is not None else record.settled_order
    return msgspec.structs.replace(
        _without_candidate(record), order=None, settled_order=order_id, starts=0, carried="", shadow_rows=None
    )


def _without_candidate(record: Record) -> Record:
    slot = record.roles.candidate
    if slot is None:
        return record
    roles = msgspec.structs.replace(record.roles, candidate=None)
    return msgspec.structs.replace(record, roles=roles, slots=_put(record.slots, slot, None))


def _put(slots: Slots, slot: SlotName | None, content: Content | None) -> Slots:
    return slots if slot is None else msgspec.structs.replace(slots, **{slot: content})
