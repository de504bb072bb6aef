"""A device and a broker that know each other by certificates."""

import random
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.client import Delivery, WireClient
from broker.errors import LinkError
from broker.messages import Event, RecordKey, Status, encode_body, encode_record
from broker.tls import open_tls
from broker.topics import Channel, DeviceId, FleetId, fleet_filter
from edge_agent.link import DeviceLink
from tests.tls_broker import TlsBroker, running_tls_broker, why_not
from tests.waiting import wait_until

FLEET = FleetId("test")
WILL = Status(online=False, at_utc_s=0.0, boot_id="b", agent_version="0")
EVENT = encode_record(RecordKey(1, 1, 0), encode_body(Event("e", 1.0, "info", "over TLS")))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[TlsBroker]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_tls_broker(tmp_path / "broker") as running:
        yield running


def link_of(broker: TlsBroker, tls: ssl.SSLContext | None) -> DeviceLink:
    link = DeviceLink(broker.endpoint, FLEET, DeviceId("station-1"), 5, tls)
    link.connect(lambda _: None, lambda _: None, WILL, random.Random(1))
    return link


def test_a_device_is_let_in_by_its_certificate_and_its_records_arrive(broker: TlsBroker):
    arrived: list[Delivery] = []
    monitor = WireClient(
        broker.plain,
        "monitor",
        filters=(fleet_filter(FLEET, Channel.EVENTS),),
        on_delivery=arrived.append,
        rng=random.Random(1),
    )
    monitor.start()
    link = link_of(broker, open_tls(str(broker.ca), str(broker.certificate), str(broker.key)))
    try:
        wait_until(lambda: monitor.is_connected and link.is_connected)
        link.publish(Channel.EVENTS, EVENT)
        wait_until(lambda: arrived)
        assert arrived[0].payload == EVENT
    finally:
        link.close(2.0)
        monitor.close()


def test_a_device_is_not_let_in_without_its_certificate_nor_does_it_talk_to_a_broker_of_another_authority(
    broker: TlsBroker, tmp_path: Path
):
    with running_tls_broker(tmp_path / "other") as other:
        links = [
            link_of(broker, open_tls(str(broker.ca), None, None)),
            link_of(broker, open_tls(str(other.ca), str(broker.certificate), str(broker.key))),
            link_of(broker, None),
        ]
        good = link_of(broker, open_tls(str(broker.ca), str(broker.certificate), str(broker.key)))
        try:
            wait_until(lambda: good.is_connected)
            assert [link.is_connected for link in links] == [False] * 3
        finally:
            for link in (*links, good):
                link.close(2.0)


def test_a_file_that_is_no_certificate_is_an_error_that_names_it(broker: TlsBroker, tmp_path: Path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for files in ((str(tmp_path / "ca.pem"), None, None), (str(broker.ca), str(broker.ca), str(tmp_path / "absent"))):
        with pytest.raises(LinkError, match=str(tmp_path)):
            open_tls(*files)
