"""What PostgreSQL alone cannot hold, or is not there to take."""

import pytest

from broker.messages import Event
from broker.topics import Channel
from tests.ports import free_port
from tests.unit.trainer.monitoring.test_intake import intake, refused_by_device, rows_of, store, window_records
from tests.unit.trainer.simulated_fleet import SimulatedDevice
from trainer.monitoring.intake import Mark
from trainer.monitoring.store import StoreUnavailableError, open_store
from trainer.monitoring.tables import EVENTS, RECORDS

__all__ = ["intake", "store"]


def test_a_text_with_a_nul_is_refused_alone_and_covered_by_its_mark(store, intake):
    good, bad = SimulatedDevice("good"), SimulatedDevice("bad")
    poison = bad.record(Channel.EVENTS, Event("odd", 1.0, "warning", "before \0 after"))
    first, second = window_records(good, 2)
    marks = intake.take([first, poison, second])
    assert Mark(good.name, good.epoch, 2) in marks
    assert Mark(bad.name, bad.epoch, 1) in marks
    assert refused_by_device(store) == {bad.name: 1}
    assert rows_of(store, EVENTS) == []
    assert len(rows_of(store, RECORDS)) == 3


@pytest.mark.usefixtures("store")
def test_a_server_that_is_not_there_is_told_as_one_to_ask_again():
    with pytest.raises(StoreUnavailableError, match="not available") as told:
        open_store(f"postgresql+psycopg://me:tulip@127.0.0.1:{free_port()}/fleet?connect_timeout=5")
    assert "tulip" not in str(told.value)
