"""What has its answer is known again when the broker repeats it, by this service and by the next one."""

from itertools import count

import pytest

from edge_agent.sensing.mqtt_link import Arrival
from trainer.serving.errors import ServingError
from trainer.serving.topics.ledger import Ledger


def arrival(payload, packet=1, *, repeated=False, qos=1):
    return Arrival(payload, packet, qos, is_repeated=repeated, is_retained=False)


def ids(mark):
    return (f"{mark}-{number}" for number in count())


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "ledger.db"


def test_a_message_that_is_repeated_keeps_its_id_until_it_has_its_answer_and_then_needs_none(file):
    ledger = Ledger(file)
    (first,) = ledger.take([arrival(b"a")], ids("x"))
    (again,) = ledger.take([arrival(b"a", repeated=True)], ids("y"))
    assert (first.id, again.id, again.is_answered) == ("x-0", "x-0", False)
    ledger.answered([again])
    assert ledger.take([arrival(b"a", repeated=True)], ids("y"))[0].is_answered
    ledger.close()


@pytest.mark.parametrize("is_answered", [True, False])
def test_the_next_service_knows_it_too(file, is_answered):
    ledger = Ledger(file)
    taken = ledger.take([arrival(b"a"), arrival(b"b", 2)], ids("x"))
    ledger.answered(taken[:is_answered])
    # Not closed: it was killed.
    again = Ledger(file).take([arrival(b"a", repeated=True), arrival(b"b", 2, repeated=True)], ids("y"))
    assert [(each.id, each.is_answered) for each in again] == [("x-0", is_answered), ("x-1", False)]


@pytest.mark.parametrize(
    "other",
    [
        arrival(b"a", repeated=False),
        arrival(b"other", repeated=True),
        arrival(b"a", packet=7, repeated=True),
        arrival(b"a", repeated=True, qos=0),
    ],
)
def test_what_only_looks_alike_is_a_message_of_its_own(file, other):
    ledger = Ledger(file)
    ledger.answered(ledger.take([arrival(b"a")], ids("x")))
    (taken,) = ledger.take([other], ids("y"))
    assert (taken.id, taken.is_answered) == ("y-0", False)
    ledger.close()


def test_an_identifier_that_is_used_again_is_that_of_the_newer_message(file):
    ledger = Ledger(file)
    (old,) = ledger.take([arrival(b"a")], ids("x"))
    ledger.take([arrival(b"b")], ids("y"))
    # An answer that comes late says nothing of the newer one.
    ledger.answered([old])
    assert not ledger.take([arrival(b"b", repeated=True)], ids("z"))[0].is_answered
    ledger.close()
    assert not Ledger(file).take([arrival(b"b", repeated=True)], ids("z"))[0].is_answered


def test_a_disk_that_refuses_is_told(file, tmp_path):
    ledger = Ledger(file)
    ledger.close()
    with pytest.raises(ServingError, match="cannot be noted"):
        ledger.take([arrival(b"a")], ids("x"))
    (tmp_path / "file").touch()
    with pytest.raises(ServingError, match="cannot be noted"):
        Ledger(tmp_path / "file" / "ledger.db")
