"""Reports of shadows are stored once each, and summed by device and pair of bundles."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from broker.client import Delivery
from broker.messages import BundleRef, Event, ShadowReport
from broker.topics import Channel, DeviceId
from tests.unit.trainer.simulated_fleet import ManualClock, SimulatedDevice
from trainer.monitoring.intake import Intake
from trainer.monitoring.shadows import sum_shadows
from trainer.monitoring.store import Store, open_store, store_uri

FIRST, SECOND, THIRD = (BundleRef("toy", version) for version in (1, 2, 3))
REPORT = ShadowReport(
    bundle=SECOND,
    variant="onnx-fp32",
    against=FIRST,
    rows=100,
    disagreements=7,
    difference_sum=5.0,
    refused=1,
    dropped=2,
    median_latency_us=40.0,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(store_uri(tmp_path / "fleet.db"))
    yield opened
    opened.close()


def told(device: SimulatedDevice, report: ShadowReport | None, at_utc_s: float = 5.0) -> Delivery:
    return device.record(Channel.EVENTS, Event("shadow", at_utc_s, "info", "in words", SECOND, "o", report))


def test_reports_of_one_pair_are_summed_and_the_last_one_tells_the_latency(store: Store):
    device, other = SimulatedDevice("a"), SimulatedDevice("b")
    later = msgspec.structs.replace(REPORT, rows=300, disagreements=1, difference_sum=3.0, median_latency_us=50.0)
    against_third = msgspec.structs.replace(REPORT, against=THIRD)
    first = told(device, REPORT)
    Intake(store, ManualClock()).take(
        [first, told(device, None), told(device, later, 9.0), first, told(other, against_third)]
    )
    summed, third = sum_shadows(store)
    assert (summed.device, summed.bundle, summed.against) == ("a", SECOND, FIRST)
    assert (summed.reports, summed.rows, summed.disagreements, summed.refused, summed.dropped) == (2, 400, 8, 2, 4)
    assert summed.mean_difference == pytest.approx(8.0 / 400)
    assert summed.share == pytest.approx(8 / 400)
    assert (summed.median_latency_us, summed.last_utc_s) == (50.0, 9.0)
    assert (third.device, third.against) == ("b", THIRD)
    assert sum_shadows(store, DeviceId("b")) == (third,)


def test_a_shadow_that_has_compared_nothing_has_no_share(store: Store):
    nothing = msgspec.structs.replace(REPORT, rows=0, disagreements=0, difference_sum=0.0)
    Intake(store, ManualClock()).take([told(SimulatedDevice("a"), nothing)])
    (summed,) = sum_shadows(store)
    assert summed.share is None
    assert summed.mean_difference == 0.0


def test_a_store_that_was_made_before_there_were_shadows_takes_them(store: Store, tmp_path: Path):
    with store.writing() as connection:
        connection.exec_driver_sql("DROP TABLE shadows")
    again = open_store(store_uri(tmp_path / "fleet.db"))
    Intake(again, ManualClock()).take([told(SimulatedDevice("a"), REPORT)])
    assert len(sum_shadows(again)) == 1
    again.close()
