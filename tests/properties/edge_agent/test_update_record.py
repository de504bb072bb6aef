"""Whatever happens in whatever order, the record of updates keeps its promises."""

import contextlib
from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.messages import BundleRef, Desired, Event
from edge_agent.bundle import TrialRules
from edge_agent.update import record as transitions
from edge_agent.update.policy import Answer, decide
from edge_agent.update.record import MAX_OUTBOX, MAX_REFUSALS, SLOTS, Content, Record, Roles, SlotName, Slots
from edge_agent.update.states import TABLE, Happening, ImpossibleHappeningError, State
from edge_agent.update.trial import Evidence, Outcome, judge

Step = Callable[[Record], Record]


def order(version: int) -> Desired:
    return Desired(BundleRef("toy", version), f"order-{version}", 0.0, "test")


def content(version: int) -> Content:
    return Content(BundleRef("toy", version), "onnx-fp32", "0" * 64)


def step_of(happening: Happening, version: int) -> Step:
    """Return the change that a happening makes."""
    steps: dict[Happening, Step] = {
        Happening.ORDERED: lambda record: transitions.ordered(
            record, order(version), "local-1" if version % 2 else "", version if version % 3 == 0 else None
        ),
        Happening.SHADOWED: lambda record: transitions.shadowed(record, content(version)),
        Happening.PROVED: lambda record: transitions.proved(record, content(version)),
        Happening.REFUSED: lambda record: transitions.refused(record, "why"),
        Happening.UNREACHABLE: transitions.unreachable,
        Happening.WITHDRAWN: lambda record: (
            transitions.withdrawn(record) if record.shadow_rows is None else transitions.shadow_ended(record)
        ),
        Happening.ACTIVATED: transitions.activated,
        Happening.HEALTHY: transitions.committed,
        Happening.FAILED: lambda record: transitions.failed(record, "why"),
        Happening.BACK_ORDERED: lambda record: transitions.back_ordered(record, "why"),
        Happening.RESTORED: transitions.restored,
        Happening.RESTARTED: lambda record: transitions.restarted(record, was_proving=version > 3),
    }
    return steps[happening]


happenings = st.lists(st.tuples(st.sampled_from(Happening), st.integers(1, 6)), max_size=60)


@given(happenings)
@settings(max_examples=300, deadline=None)
def test_roles_never_share_a_slot_and_a_commit_is_never_lost(history: list[tuple[Happening, int]]):
    record = Record()
    for happening, version in history:
        before = record
        try:
            record = step_of(happening, version)(record)
        except ImpossibleHappeningError:
            assert (before.state, happening) not in TABLE
            continue
        roles = record.roles
        held = [slot for slot in (roles.active, roles.previous, roles.candidate) if slot is not None]
        assert len(set(held)) == len(held)
        assert (roles.candidate is not None) == (
            record.state in {State.FETCHING, State.STAGED, State.TRIAL, State.SHADOW}
        )
        assert roles.active is None or record.active is not None
        assert roles.previous is None or record.previous is not None
        # Only a commit or an order to go back changes what is committed.
        if happening not in {Happening.HEALTHY, Happening.BACK_ORDERED}:
            assert (record.active, record.previous) == (before.active, before.previous)
        if happening is Happening.HEALTHY:
            assert (record.active, record.previous) == (before.candidate, before.active)
        if record.state is not State.TRIAL:
            assert record.running == record.active
        assert len(record.refusals) <= MAX_REFUSALS
        # Nothing of it is lost on the disk.
        assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record


@given(happenings)
@settings(max_examples=200, deadline=None)
def test_a_refused_bundle_is_never_accepted_again_under_its_order(history: list[tuple[Happening, int]]):
    record = Record()
    for happening, version in history:
        if happening is Happening.ORDERED and decide(order(version), record, "toy").answer is not Answer.ACCEPT:
            continue
        was = record
        try:
            record = step_of(happening, version)(record)
        except ImpossibleHappeningError:
            continue
        if happening in {Happening.REFUSED, Happening.FAILED} and was.order is not None:
            assert decide(was.order, record, "toy").answer is Answer.REFUSED_BEFORE


slots = st.lists(st.sampled_from(SLOTS), max_size=2, unique=True)


@given(happenings, slots)
@settings(max_examples=200, deadline=None)
def test_what_is_found_again_never_shares_a_slot_with_a_candidate(
    history: list[tuple[Happening, int]], found_in: list[SlotName]
):
    record = Record()
    for happening, version in history:
        with contextlib.suppress(ImpossibleHappeningError):
            record = step_of(happening, version)(record)
    record = transitions.without_active(transitions.without_active(record))
    assert (record.active, record.previous) == (None, None)
    free = [slot for slot in found_in if slot != record.roles.candidate]
    found = Record(
        roles=Roles(*free), slots=Slots(**{slot: content(n) for n, slot in enumerate(free, 1)}), commits=len(free)
    )
    again = transitions.found_again(record, found)
    assert (again.active, again.previous, again.candidate) == (found.active, found.previous, record.candidate)
    roles = again.roles
    held = [slot for slot in (roles.active, roles.previous, roles.candidate) if slot is not None]
    assert len(set(held)) == len(held)
    assert again.commits >= record.commits
    assert (again.state, again.order, again.refusals) == (record.state, record.order, record.refusals)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_outbox_is_bounded_and_gives_up_the_oldest(n_events: int, n_told: int):
    record = Record()
    for number in range(n_events):
        record = transitions.with_event(record, Event("error", float(number), "info", "x"))
    kept = record.outbox
    assert [event.at_utc_s for event in kept] == [float(n) for n in range(max(0, n_events - MAX_OUTBOX), n_events)]
    assert transitions.without_events(record, n_told).outbox == kept[n_told:]


@given(
    st.builds(
        Evidence,
        rows=st.integers(0, 100),
        errors=st.integers(0, 100),
        refused=st.integers(0, 100),
        median_latency_us=st.none() | st.floats(0, 1e6),
        starts=st.integers(0, 10),
        elapsed_s=st.floats(0, 1e6),
        memory_bytes=st.none() | st.integers(0, 100),
    ),
    st.builds(
        TrialRules,
        rows=st.integers(1, 50),
        max_error_share=st.floats(0, 1),
        max_latency_us=st.none() | st.floats(0, 1e6),
        max_starts=st.integers(1, 5),
        max_memory_bytes=st.none() | st.integers(0, 100),
    ),
    st.none() | st.integers(0, 100),
)
def test_no_trial_is_healthy_without_its_rows(evidence: Evidence, rules: TrialRules, max_memory_bytes: int | None):
    verdict = judge(evidence, rules, max_memory_bytes)
    if verdict.outcome is Outcome.HEALTHY:
        assert evidence.rows + evidence.errors >= rules.rows
        assert evidence.errors <= rules.max_error_share * (evidence.rows + evidence.errors)
        assert evidence.starts <= rules.max_starts
        for bound in (rules.max_memory_bytes, max_memory_bytes):
            assert bound is None or evidence.memory_bytes is None or evidence.memory_bytes <= bound


def test_a_candidate_goes_to_the_only_slot_that_is_free():
    record = Record()
    for version in range(1, 8):
        record = transitions.ordered(record, order(version))
        free = set(SLOTS) - {record.roles.active, record.roles.previous}
        assert record.roles.candidate in free
        record = transitions.committed(transitions.activated(transitions.proved(record, content(version))))
