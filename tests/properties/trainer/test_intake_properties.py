"""Whatever the road loses, doubles or swaps, and wherever either side is killed: each record is stored once.

A device keeps what is not marked, sends it again in order, and may thin its spool: drop records that it never sent.
"""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from broker.client import Delivery
from broker.messages import RecordKey, encode_body, encode_record
from broker.topics import Channel
from tests.unit.trainer.simulated_fleet import ManualClock, SimulatedDevice, draw_window, make_manifest
from trainer.monitoring.contiguity import Contiguity
from trainer.monitoring.intake import Intake
from trainer.monitoring.store import open_store, store_uri
from trainer.monitoring.tables import RECORDS, WINDOWS

BODY = encode_body(draw_window(np.random.default_rng(1), make_manifest()))


class Spool:
    """What a device has, and has dropped before it was ever sent."""

    def __init__(self, n, dropped):
        self.kept = [s for s in range(1, n + 1) if s not in dropped]
        self.through = 0

    def thin(self, sequences):
        """Drop records that may have been sent, and may have arrived."""
        self.kept = [s for s in self.kept if s not in sequences or s == self.kept[-1]]

    def unmarked(self):
        """Records to send, in order, as (sequence, previous)."""
        left = [s for s in self.kept if s > self.through]
        before = [0, *self.kept]
        return [(s, max(p for p in before if p < s)) for s in left]


def run_out_of_memory(_connection):
    raise MemoryError


@st.composite
def roads(draw):
    """A spool and what the road does to each sending: which records arrive, in which order, how often."""
    n = draw(st.integers(1, 12))
    dropped = draw(st.sets(st.integers(1, n), max_size=n - 1))
    fates = draw(st.lists(st.lists(st.integers(0, 11), max_size=16), max_size=5))
    return n, dropped, fates


@given(roads())
def test_the_mark_never_passes_a_record_that_is_kept_and_not_stored(road):
    n, dropped, fates = road
    spool, contiguity, stored = Spool(n, dropped), Contiguity(), set()
    for fate in [*fates, list(range(12))]:
        sending = spool.unmarked()
        for index in fate:
            if index < len(sending):
                sequence, previous = sending[index]
                contiguity.take(RecordKey(1, sequence, previous))
                stored.add(sequence)
            assert all(s in stored for s in spool.kept if s <= contiguity.through)
        spool.through = max(spool.through, contiguity.through)
    assert contiguity.through == max(spool.kept)


@given(roads(), st.lists(st.sets(st.integers(1, 12), max_size=4), min_size=6, max_size=6))
def test_a_spool_that_thins_what_it_sent_already_still_gets_its_mark(road, thinned):
    n, dropped, fates = road
    spool, contiguity = Spool(n, dropped), Contiguity()
    for fate, drops in zip([*fates, list(range(12))], thinned, strict=False):
        spool.thin(drops)
        sending = spool.unmarked()
        for index in fate:
            if index < len(sending):
                contiguity.take(RecordKey(1, *sending[index]))
        spool.through = max(spool.through, contiguity.through)
    for record in spool.unmarked():
        contiguity.take(RecordKey(1, *record))
    assert contiguity.through == spool.kept[-1]


@given(st.permutations(range(1, 9)))
def test_any_order_of_arrival_ends_at_the_same_mark_and_finds_no_record_new_twice(order):
    contiguity = Contiguity()
    assert all(contiguity.take(RecordKey(1, s, s - 1)) for s in order)
    assert contiguity.through == 8
    assert not any(contiguity.take(RecordKey(1, s, s - 1)) for s in order)


@given(st.permutations(range(1, 9)), st.integers(0, 8))
def test_a_restart_anywhere_knows_what_was_known(order, cut):
    whole, first = Contiguity(), Contiguity()
    for s in order:
        whole.take(RecordKey(1, s, s - 1))
    for s in order[:cut]:
        first.take(RecordKey(1, s, s - 1))
    second = Contiguity(first.through, ((s, s - 1) for s in order[:cut] if s > first.through))
    assert all(second.is_known(s) for s in order[:cut])
    for s in order[cut:]:
        second.take(RecordKey(1, s, s - 1))
    assert second.through == whole.through


@settings(max_examples=25, deadline=None)
@given(
    roads(),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_the_store_holds_each_record_once_through_loss_doubles_swaps_surprises_and_kills(road, kills, surprises):
    n, dropped, fates = road
    device, spool = SimulatedDevice("a"), Spool(n, dropped)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(store_uri(Path(folder) / "fleet.db"))
        intake = Intake(store, ManualClock())
        for fate, is_killed, is_surprised in zip([*fates, list(range(12))], kills, surprises, strict=False):
            sending = spool.unmarked()
            if is_killed:
                intake = Intake(store, ManualClock())
            arrived = [
                Delivery(
                    device.topic(Channel.TELEMETRY),
                    encode_record(RecordKey(device.epoch, *sending[index]), BODY),
                    retained=False,
                )
                for index in fate
                if index < len(sending)
            ]
            if is_surprised and arrived:
                event.listen(store._engine, "commit", run_out_of_memory)
                with pytest.raises(MemoryError):
                    intake.take(arrived)
                event.remove(store._engine, "commit", run_out_of_memory)
                continue
            for mark in intake.take(arrived) if arrived else []:
                spool.through = max(spool.through, mark.through)
        for sequence, previous in spool.unmarked():
            key = RecordKey(device.epoch, sequence, previous)
            intake.take([Delivery(device.topic(Channel.TELEMETRY), encode_record(key, BODY), retained=False)])
        with store.reading() as connection:
            for table in (RECORDS, WINDOWS):
                rows = connection.execute(table.select()).all()
                assert sorted(row.sequence for row in rows) == spool.kept
        store.close()
