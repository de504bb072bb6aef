"""Whatever people, brokers, disks and power cuts do to a device: it scores what proved itself, and takes new orders."""

import contextlib
import io
import tempfile
from functools import cache
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.messages import BundleRef, Desired
from edge_agent.bundle import TrialRules
from edge_agent.errors import OpeningError
from edge_agent.mailbox import copy_into_inbox, inbox_of, new_id
from edge_agent.update.record import MAX_OUTBOX, MAX_REFUSALS, Record
from edge_agent.update.slots import RECORD_NAME, begin_proving
from edge_agent.update.stage_messages import StageReport
from edge_agent.update.states import State
from tests.bundles import make_bundle
from tests.unit.edge_agent.update.simulators import Device, Disk, Engines, Stagings

VERSIONS = st.integers(1, 4)
OUTCOMES = ("refused", "unreachable", "storage", "crashed", "timed_out", "broken_off")
WITH_CANDIDATE = {State.FETCHING, State.STAGED, State.TRIAL, State.SHADOW}


@cache
def bundles() -> Path:
    """Return a folder with four bundles; made once."""
    folder = Path(tempfile.mkdtemp(prefix="fieldloop-bundles-"))
    for version in range(1, 5):
        make_bundle(folder / f"v{version}", version=version, trial=TrialRules(rows=20, max_starts=2))
    return folder


class DeviceMachine(RuleBasedStateMachine):
    """One device and all that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory(prefix="fieldloop-device-")
        self.state = Path(self.place.name) / "state"
        self.stagings, self.engines, self.disk = Stagings(bundles()), Engines(), Disk()
        self.n_orders = 0
        self.last: Desired | None = None
        self.device = Device(self.state, self.stagings, self.engines, self.disk)

    # --- people and brokers ------------------------------------------------------------------------------------------

    def make_order(self, version: int) -> Desired:
        self.n_orders += 1
        return Desired(BundleRef("toy", version), f"order-{self.n_orders}", 1.7e9, "somebody")

    @rule(version=VERSIONS)
    def order(self, version: int) -> None:
        self.last = self.make_order(version)
        self.device.updater.on_desired(self.last)

    @precondition(lambda self: self.last is not None)
    @rule()
    def deliver_the_retained_order_again(self) -> None:
        assert self.last is not None
        self.device.updater.on_desired(self.last)

    @rule(version=VERSIONS)
    def carry(self, version: int) -> None:
        ask_id = new_id()
        copy_into_inbox(self.state, ask_id, io.BytesIO(b"an update file"))
        order = msgspec.structs.replace(self.make_order(version), order_id=ask_id)
        self.device.updater.on_carried(order, ask_id)

    @rule(version=VERSIONS, rows=st.sampled_from((0, 100)))
    def start_a_shadow(self, version: int, rows: int) -> None:
        with contextlib.suppress(OSError):
            self.device.updater.shadows.start(self.make_order(version), rows)

    @rule()
    def end_the_shadow(self) -> None:
        self.device.updater.shadows.end("enough")

    @rule()
    def roll_back(self) -> None:
        with contextlib.suppress(OSError):
            self.device.updater.roll_back("because")

    # --- the device at work ------------------------------------------------------------------------------------------

    @rule(times=st.integers(1, 4))
    def poll(self, times: int) -> None:
        for _ in range(times):
            with contextlib.suppress(OSError):
                self.device.poll()

    @precondition(lambda self: self.is_on_trial)
    @rule(errors=st.sampled_from((0, 0, 1)))
    def score(self, errors: int) -> None:
        self.device.score(errors=errors)

    @rule()
    def let_time_pass(self) -> None:
        self.device.clock.advance(1000.0)

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    @rule(outcome=st.none() | st.sampled_from(OUTCOMES), is_slow=st.booleans(), may_pass=st.booleans())
    def have_staging_end_so(self, outcome: str | None, *, is_slow: bool, may_pass: bool) -> None:
        self.stagings.is_slow = is_slow
        report = StageReport(outcome, "because", may_pass=may_pass) if outcome else None  # type: ignore[arg-type]
        self.stagings.report = report

    @rule(version=VERSIONS, is_for_good=st.booleans())
    def have_a_bundle_not_open(self, version: int, *, is_for_good: bool) -> None:
        if is_for_good:
            self.engines.broken.add(version)
        else:
            self.engines.failing[version] = OpeningError("no memory")

    @rule()
    def have_bundles_open_again(self) -> None:
        self.engines.broken.clear()
        self.engines.failing.clear()

    @rule(is_full=st.booleans())
    def fill_the_disk(self, *, is_full: bool) -> None:
        self.disk.is_full = is_full

    @rule()
    def cut_the_power(self) -> None:
        self.engines.n_open = 0
        self.device = Device(self.state, self.stagings, self.engines, self.disk)

    @precondition(lambda self: self.device.updater.record.state is State.FETCHING)
    @rule()
    def have_the_first_run_take_the_machine_down(self) -> None:
        slot = self.device.updater.record.roles.candidate
        assert slot is not None
        begin_proving(self.device.store.folder(slot))
        self.cut_the_power()

    @rule()
    def stop_politely(self) -> None:
        with contextlib.suppress(OSError):
            self.device.updater.stop()
        self.cut_the_power()

    # --- what must hold ----------------------------------------------------------------------------------------------

    @property
    def is_on_trial(self) -> bool:
        engine = self.device.seat.engine
        return engine is not None and engine.meter is not None

    @invariant()
    def no_slot_plays_two_parts(self) -> None:
        record = self.device.updater.record
        roles = record.roles
        held = [slot for slot in (roles.active, roles.previous, roles.candidate) if slot is not None]
        assert len(set(held)) == len(held)
        assert (roles.candidate is not None) == (record.state in WITH_CANDIDATE)

    @invariant()
    def only_what_was_committed_or_is_on_trial_scores(self) -> None:
        record, engine = self.device.updater.record, self.device.seat.engine
        if engine is None:
            return
        if engine.meter is not None:
            assert record.state is State.TRIAL
            assert (engine.slot, engine.content) == (record.roles.candidate, record.candidate)
        else:
            committed = ((record.roles.active, record.active), (record.roles.previous, record.previous))
            assert (engine.slot, engine.content) in committed

    @invariant()
    def nothing_grows_without_bound(self) -> None:
        record = self.device.updater.record
        assert len(record.refusals) <= MAX_REFUSALS
        assert len(record.outbox) <= MAX_OUTBOX
        assert self.engines.n_open <= 3

    @invariant()
    def the_record_on_the_disk_can_always_be_read(self) -> None:
        path = self.state / RECORD_NAME
        if path.exists():
            msgspec.json.decode(path.read_bytes(), type=Record)

    def teardown(self) -> None:
        """Once nothing goes wrong any more, a new order ends in a commit, and nothing is left over."""
        try:
            self._recover()
        finally:
            self.place.cleanup()

    def _recover(self) -> None:
        self.disk.is_full = self.stagings.is_slow = False
        self.stagings.report = None
        self.have_bundles_open_again()
        self._settle()
        for version in (1, 2):
            self.device.updater.on_desired(self.make_order(version))
            self._settle()
            assert self.device.scoring == version
            assert self.device.updater.record.state is State.IDLE
        assert self.engines.n_open == 1
        inbox = inbox_of(self.state)
        assert not inbox.exists() or not list(inbox.glob("*.update"))

    def _settle(self) -> None:
        for _ in range(12):
            self.device.clock.advance(1000.0)
            self.device.poll(2)
            if self.is_on_trial:
                self.device.score()


DeviceMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestDevice = DeviceMachine.TestCase
