import threading

import numpy as np
import pytest
from sqlalchemy import event

from broker.client import Delivery
from broker.messages import Label, Labels, Stored, encode, parse_as
from broker.topics import Channel
from tests.refusing import refuse_rows, take_rows
from tests.unit.trainer.simulated_fleet import FLEET, ManualClock, SimulatedDevice, draw_window, make_manifest
from tests.waiting import wait_until
from trainer.monitoring.fleet import count_windows
from trainer.monitoring.receiver import Receiver
from trainer.monitoring.store import open_store, store_uri
from trainer.monitoring.tables import LABELS

MANIFEST = make_manifest()
POISON = 666


class Field:
    """A receiver with a real store, whose marks a test reads, and whose database can be made to refuse rows."""

    def __init__(self, folder):
        self.store = open_store(store_uri(folder / "fleet.db"))
        self.marks = {}
        self.told = []
        self.receiver = Receiver(self.store, FLEET, self.publish, ManualClock())
        self.rng = np.random.default_rng(1)

    def publish(self, topic, payload):
        self.marks[topic.device] = parse_as(Stored, Channel.STORED, payload).sequence
        self.told.append((topic.device, self.marks[topic.device]))

    def window(self, device, first_row=0):
        return device.record(Channel.TELEMETRY, draw_window(self.rng, MANIFEST, first_row=first_row))

    def labels(self, device):
        body = Labels("truth", (Label(f"{device.name}.1", "wet", 2.0),))
        return Delivery(device.topic(Channel.LABELS), encode(body), retained=False)

    def refuse(self, table, condition="1 = 1"):
        """Refuse rows of a table, and to write down that they are refused."""
        with self.store.writing() as connection:
            refuse_rows(connection, table, condition)
            refuse_rows(connection, "refused")

    def accept(self, table):
        with self.store.writing() as connection:
            take_rows(connection, table)

    def deliver_in_background(self, delivery):
        """Deliver as the network thread does, which waits until a label is stored."""
        thread = threading.Thread(target=self.receiver.deliver, args=(delivery,), daemon=True)
        thread.start()
        wait_until(lambda: any(item.delivery == delivery for item in self.receiver._queue))
        return thread

    def count_labels(self):
        with self.store.reading() as connection:
            return len(connection.execute(LABELS.select()).all())


@pytest.fixture
def field(tmp_path):
    field = Field(tmp_path)
    yield field
    field.receiver.close()
    field.store.close()


def test_a_message_that_cannot_be_stored_is_never_marked_and_the_others_of_its_batch_are_stored(field):
    good, bad = SimulatedDevice("good"), SimulatedDevice("bad")
    field.refuse("windows", f"NEW.first_row = {POISON}")
    for delivery in (field.window(good), field.window(bad, POISON), field.window(good), field.window(bad)):
        field.receiver.deliver(delivery)
    field.receiver.start()
    wait_until(lambda: field.marks == {"good": 2})
    wait_until(lambda: count_windows(field.store, after=0) == {"good": 2, "bad": 1})
    field.receiver.deliver(field.window(good))
    wait_until(lambda: field.marks == {"good": 3})


def test_a_record_that_could_not_be_stored_is_marked_once_it_came_again_and_was(field):
    device = SimulatedDevice("a")
    first, second = field.window(device, POISON), field.window(device)
    field.refuse("windows", f"NEW.first_row = {POISON}")
    field.receiver.start()
    for delivery in (first, second):
        field.receiver.deliver(delivery)
    wait_until(lambda: count_windows(field.store, after=0) == {"a": 1})
    assert field.marks == {}
    field.accept("windows")
    field.receiver.deliver(first)
    wait_until(lambda: field.marks == {"a": 2})


def test_a_label_that_cannot_be_stored_waits_until_it_can_while_the_rest_of_its_batch_is_stored(field):
    device = SimulatedDevice("a")
    field.refuse("labels")
    delivering = field.deliver_in_background(field.labels(device))
    field.receiver.deliver(field.window(device))
    field.receiver.start()
    wait_until(lambda: field.marks == {"a": 1})
    assert delivering.is_alive()
    field.receiver.deliver(field.window(device))
    wait_until(lambda: field.marks == {"a": 2})
    assert delivering.is_alive()
    assert field.count_labels() == 0
    field.accept("labels")
    wait_until(lambda: not delivering.is_alive())
    assert field.count_labels() == 1


def test_a_shortage_of_memory_that_passes_costs_nothing(field):
    device = SimulatedDevice("a")
    failures = [MemoryError()] * 4

    def run_out_of_memory(_connection, _cursor, statement, *_):
        if "INTO labels" in statement and failures:
            raise failures.pop()

    event.listen(field.store._engine, "before_cursor_execute", run_out_of_memory)
    delivering = field.deliver_in_background(field.labels(device))
    field.receiver.deliver(field.window(device))
    field.receiver.start()
    wait_until(lambda: not delivering.is_alive())
    assert failures == []
    assert field.count_labels() == 1
    assert field.marks == {"a": 1}


def test_a_label_that_is_not_stored_at_the_end_is_let_go_only_by_the_close(field):
    field.refuse("labels")
    delivering = field.deliver_in_background(field.labels(SimulatedDevice("a")))
    field.receiver.start()
    field.receiver.drain()
    assert delivering.is_alive()
    field.receiver.close()
    wait_until(lambda: not delivering.is_alive())
    assert field.count_labels() == 0


def test_a_device_is_marked_before_anothers_backlog_that_came_first_is_stored(field):
    busy, calm = SimulatedDevice("busy"), SimulatedDevice("calm")
    for number in range(300):
        field.receiver.deliver(field.window(busy, number))
    field.receiver.deliver(field.window(calm))
    field.receiver.start()
    wait_until(lambda: field.marks == {"busy": 300, "calm": 1})
    assert field.told.index(("calm", 1)) < field.told.index(("busy", 300))
    assert [sequence for device, sequence in field.told if device == "busy"] == [64, 128, 192, 256, 300]
