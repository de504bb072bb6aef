"""What a person at the device may do: install an update file, go back to the bundle before.

Where an agent runs, it is asked and does it itself (`edge_agent.mailbox`). Where none does, this process takes the
state folder for a moment and does what it can: the rest is done by the next start.
"""

import getpass
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Final, Literal

from msgspec import Struct

from broker.messages import BundleRef
from edge_agent.asking import LOOK_S, ask_agent, become_owner_of
from edge_agent.clock import Clock
from edge_agent.errors import AgentError, BundleError, OpeningError, StorageError
from edge_agent.local_orders import order_of
from edge_agent.lock import StateLock, is_in_use
from edge_agent.mailbox import (
    InstallAsk,
    RollBackAsk,
    copy_into_inbox,
    file_in_inbox,
    new_id,
    remove_update,
)
from edge_agent.scoring.loading import reading_error
from edge_agent.settings import AgentSettings
from edge_agent.update.engine import Engine, TrialMeter
from edge_agent.update.record import Content, Record, SlotName
from edge_agent.update.slots import Bundle, SlotStore, read_record
from edge_agent.update.staging import StageProcess
from edge_agent.update.states import State
from edge_agent.update.updater import Updater
from edge_agent.update_file import open_update

# Beside the time that staging itself may take.
SETTLE_S: Final = 60.0
_STAGED: Final = "it is proved; its trial begins at the start"

Outcome = Literal["on_trial", "committed", "staged", "waits"]


class NotDoneError(AgentError):
    """What was asked cannot be done now; the message says why."""

    exit_code = 9


class Installed(Struct, frozen=True):
    """What became of an update file.

    Attributes:
        outcome: ``on_trial``: it scores, and must prove itself; ``committed``: it ran already, or has proved itself;
            ``staged``: it was proved, and goes on trial when the agent starts; ``waits``: another update must end
            first.
        detail: in words.
    """

    bundle: str
    order_id: str
    outcome: Outcome
    detail: str


class RolledBack(Struct, frozen=True):
    """What became of the wish to go back."""

    bundle: str | None
    detail: str


def install(settings: AgentSettings, path: Path, clock: Clock, tell: Callable[[str], None]) -> Installed:
    """Install an update file, by the same checks as an update from the repository.

    Args:
        settings: of the agent.
        path: of the update file.
        clock: of this machine.
        tell: is told what goes on.

    Raises:
        BundleError: it is no update file, or was refused; the message says by which check.
        StorageError: it cannot be read, or the state folder not be written.
        AgentSilentError: the agent that runs does not answer.
        NotDoneError: a bundle is on trial, and no agent runs; or a newer order took its place.
    """
    state = Path(settings.state)
    ask_id = new_id()
    try:
        file = path.open("rb")
    except OSError as error:
        raise reading_error(path, error) from error
    try:
        with file, open_update(path) as update:
            bundle = update.bundle
            # Root reads a stick; what is written belongs to the agent.
            become_owner_of(state)
            state.mkdir(parents=True, exist_ok=True)
            copy_into_inbox(state, ask_id, file)
    except OSError as error:
        raise StorageError(f"{path} cannot be brought to {state}: {error.strerror or error}") from error
    # A name on a stick may be of bytes that are no text.
    name = path.name.encode(errors="replace").decode()
    ask = InstallAsk(bundle.name, bundle.version, name, _user())
    tell(f"{name} holds {bundle}; checking it as an update")
    if not is_in_use(state):
        return _stage_here(settings, ask_id, ask, clock)
    try:
        ask_agent(state, ask_id, ask)
    except AgentError:
        remove_update(state, ask_id)
        raise
    # From here on the agent goes on with it, whether somebody waits for it or not.
    return _follow(settings, ask_id, bundle, clock)


def roll_back(settings: AgentSettings, reason: str, clock: Clock) -> RolledBack:
    """Go back to the bundle before.

    Raises:
        AgentSilentError: the agent that runs does not answer.
        NotDoneError: there is no bundle before, or an update is under way.
        StorageError: the state folder cannot be written.
    """
    state = Path(settings.state)
    become_owner_of(state)
    ask = RollBackAsk(reason, _user())
    if is_in_use(state):
        answer = ask_agent(state, new_id(), ask)
        if not answer.accepted:
            raise NotDoneError(answer.reason)
        return RolledBack(_active(read_record(state)), answer.reason)
    with _own_updater(settings, clock) as updater:
        try:
            done = updater.roll_back(f"{reason} (by {ask.by}, at the device)")
        except OSError as error:
            raise StorageError(f"{state}: cannot be written: {error.strerror or error}") from error
        if not done.accepted:
            raise NotDoneError(done.reason)
        return RolledBack(_active(updater.record), done.reason)


def _follow(settings: AgentSettings, order_id: str, bundle: BundleRef, clock: Clock) -> Installed:
    """Wait until the agent has decided about an order.

    Raises:
        BundleError: it was refused.
        NotDoneError: a newer order took its place.
    """
    state = Path(settings.state)
    waiting = Event()
    ends_s = clock.monotonic_s() + settings.repository.stage_timeout_s + SETTLE_S
    while clock.monotonic_s() < ends_s and is_in_use(state):
        # The file before the record: it is removed only once the record says what became of the order.
        is_needed = file_in_inbox(state, order_id).exists()
        record = read_record(state)
        result = None if record is None else outcome_of(record, order_id, bundle)
        if result is not None:
            return result
        if not is_needed:
            raise NotDoneError(
                f"a newer order took the place of {bundle}; see the agent's status, and install it again"
            )
        waiting.wait(LOOK_S)
    return Installed(str(bundle), order_id, "waits", "the agent has the file and has not decided yet; see its status")


def outcome_of(record: Record, order_id: str, bundle: BundleRef) -> Installed | None:
    """Return what a record says of an order; None while it is open.

    Raises:
        BundleError: it was refused.
    """
    for refusal in record.refusals:
        if refusal.order_id == order_id and refusal.bundle == bundle:
            raise BundleError(f"{bundle} is refused: {refusal.reason}")
    active = record.active
    if record.settled_order == order_id and active is not None and active.bundle == bundle:
        return Installed(str(bundle), order_id, "committed", "it runs")
    is_ours = record.order is not None and record.order.order_id == order_id
    if is_ours and record.state is State.TRIAL:
        return Installed(str(bundle), order_id, "on_trial", "it scores now; after a healthy trial it is committed")
    if not is_ours and record.state in {State.TRIAL, State.STAGED, State.ROLLING_BACK}:
        detail = f"another update is under way ({record.state.value}); it is installed after that"
        return Installed(str(bundle), order_id, "waits", detail)
    return None


def _stage_here(settings: AgentSettings, ask_id: str, ask: InstallAsk, clock: Clock) -> Installed:
    """Fetch and prove while no agent runs; the next start puts it on trial."""
    bundle = BundleRef(ask.name, ask.version)
    waiting = Event()
    with _own_updater(settings, clock) as updater:
        if updater.record.state is State.TRIAL:
            remove_update(Path(settings.state), ask_id)
            raise NotDoneError("a bundle is on trial; start the agent, or roll back first")
        order = updater.record.order
        if updater.record.state is State.STAGED and order is not None and order.bundle == bundle:
            # The command was given twice: nothing of this file is needed.
            remove_update(Path(settings.state), ask_id)
            return Installed(str(bundle), order.order_id, "staged", _STAGED)
        if updater.record.state is State.STAGED:
            # There is one free slot, and it is needed.
            updater.roll_back(f"{bundle} is installed by hand in its place")
        updater.on_carried(order_of(ask_id, ask, clock), ask_id)
        while True:
            try:
                updater.poll()
            except OSError as error:
                raise StorageError(f"{settings.state}: cannot be written: {error.strerror or error}") from error
            record = updater.record
            if record.state is State.STAGED:
                return Installed(str(bundle), ask_id, "staged", _STAGED)
            result = outcome_of(record, ask_id, bundle)
            if result is not None:
                return result
            waiting.wait(LOOK_S)


@contextmanager
def _own_updater(settings: AgentSettings, clock: Clock) -> Iterator[Updater]:
    """Take the state folder, and an updater of our own that opens nothing."""
    state = Path(settings.state)
    try:
        lock = StateLock(state)
    except OSError as error:
        raise StorageError(f"{state}: {error.strerror or error}") from error
    try:
        updater = Updater(
            settings.repository,
            settings.scoring.prefer,
            SlotStore(state),
            state,
            start_staging=StageProcess,
            open_engine=_open_nothing,
            clock=clock,
            rng=random.Random(),
        )
        updater.start_without_engines()
        try:
            yield updater
        finally:
            updater.stop()
    finally:
        lock.close()


def _open_nothing(slot: SlotName, content: Content, bundle: Bundle, meter: TrialMeter | None) -> Engine:
    raise OpeningError(f"{content.bundle} in slot {slot} ({bundle.variant.name}) is opened by the agent alone: {meter}")


def _active(record: Record | None) -> str | None:
    content = record.active if record is not None else None
    return str(content.bundle) if content is not None else None


def _user() -> str:
    try:
        return getpass.getuser()[:128]
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
