"""The loop on each of the three local brokers: monitor and agent are ended in the middle, and nothing is lost."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.messages import BundleRef, Desired, encode
from broker.servers.local import LocalBroker, start_local_broker
from broker.servers.mosquitto import find_mosquitto
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent.clock import SystemClock
from tests.bundles import write_rows
from tests.integration.agent.conftest import UpdateRepository
from tests.integration.agent.station import Station
from tests.integration.broker.test_local_brokers import skip_without_unpacked
from tests.waiting import wait_until
from trainer.monitoring.fleet import list_devices
from trainer.monitoring.receiver import Monitor
from trainer.monitoring.store import Store, open_store, store_uri
from trainer.monitoring.tables import EVENTS, WINDOWS

FLEET, DEVICE = FleetId("test"), DeviceId("one")
N_ROWS = 100_000


@pytest.fixture(params=[pytest.param("mosquitto", marks=pytest.mark.mosquitto), "unpacked", "amqtt"])
def each_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalBroker]:
    if request.param == "mosquitto" and find_mosquitto() is None:
        pytest.skip("no mosquitto is installed: apt-get install mosquitto")
    if request.param == "unpacked":
        skip_without_unpacked()
    running = start_local_broker(tmp_path / "broker", kind=request.param)
    assert running.kind == request.param
    yield running
    running.stop()


class Watch:
    """A monitor that is ended and started again over one store."""

    def __init__(self, broker: LocalBroker, folder: Path) -> None:
        self._broker = broker
        self.store: Store = open_store(store_uri(folder / "fleet.db"))
        self.monitor = self._started()

    def _started(self) -> Monitor:
        monitor = Monitor(self._broker.endpoint, FLEET, self.store, clock=SystemClock(), rng=random.Random(1))
        monitor.start()
        wait_until(lambda: monitor.client.is_connected)
        return monitor

    def restart(self) -> None:
        self.monitor.close()
        self.monitor = self._started()

    def order(self, bundle: BundleRef, order_id: str) -> None:
        order = Desired(bundle, order_id, SystemClock().utc_s(), "test", "because")
        self.monitor.client.publish_and_wait(Topic(FLEET, DEVICE, Channel.DESIRED), encode(order), 10)

    def rows(self) -> list[int]:
        """All rows that windows in the store speak of, in their order."""
        query = select(WINDOWS.c.first_row, WINDOWS.c.last_row).order_by(WINDOWS.c.first_row)
        with self.store.reading() as connection:
            return [row for first, last in connection.execute(query) for row in range(first, last + 1)]

    def committed(self) -> set[int]:
        query = select(EVENTS.c.version).where(EVENTS.c.kind == "committed")
        with self.store.reading() as connection:
            return {version for (version,) in connection.execute(query)}


@pytest.mark.slow
def test_monitor_and_agent_are_ended_in_the_middle_and_every_row_is_stored_once(
    each_broker: LocalBroker, updates: UpdateRepository, tmp_path: Path
) -> None:
    first, second = updates.publish(1), updates.publish(2)
    watch = Watch(each_broker, tmp_path)
    rows = write_rows(tmp_path / "rows.csv", N_ROWS)
    station = Station(
        tmp_path / "one", DEVICE, each_broker.endpoint, updates.server.url, updates.root, rows, "rows_per_second = 150"
    )
    try:
        station.start()
        watch.order(first, "order-1")
        wait_until(lambda: len(watch.rows()) >= 100, 60, "the first rows are stored")
        # The agent goes on alone, and dies; the monitor hears of it late.
        watch.monitor.close()
        station.kill()
        station.start()
        watch.restart()
        watch.order(second, "order-2")
        wait_until(lambda: 2 in watch.committed(), 60, f"the second bundle is committed; its log: {station.log}")
        half = len(watch.rows())
        station.kill()
        watch.restart()
        station.start()
        wait_until(lambda: len(watch.rows()) >= half + 200, 60, "more rows are stored")
        assert station.stop() == 0
        # What its last window holds is in the spool, and comes with the next start.
        scored = station.status()["live"]["last_window"]["last_row"] + 1
        station.start()
        wait_until(lambda: len(watch.rows()) >= scored, 60, "all that was scored is stored")
        rows_stored = watch.rows()
        assert rows_stored == list(range(len(rows_stored)))
        assert watch.committed() == {1, 2}
        (device,) = list_devices(watch.store)
        assert (device.device, device.bundle) == (DEVICE, second)
    finally:
        if station.is_running:
            station.kill()
        watch.monitor.close()
        watch.store.close()
