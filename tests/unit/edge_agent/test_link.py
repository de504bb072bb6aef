"""A link that gets another identity while it is up."""

import random
from pathlib import Path

import pytest

from broker.client import Endpoint
from broker.errors import LinkError
from broker.identity.keys import make_request
from broker.identity.names import parse_identity
from broker.messages import Event, RecordKey, Status, encode_body, encode_record
from broker.topics import Channel, DeviceId, FleetId
from edge_agent.link import DeviceLink
from edge_agent.pinned_tls import open_pinned_tls
from tests.fleet_server import make_fleet, real_utc_s, running_broker, why_not
from tests.waiting import wait_until

EVENT = encode_record(RecordKey(1, 1, 0), encode_body(Event("e", 1.0, "info", "over TLS")))


def test_it_waits_for_an_identity_and_takes_the_next_one(tmp_path: Path):
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    fleet = make_fleet(tmp_path / "fleet")
    heard: list[bool] = []

    def tls(name: str):
        key, request = make_request()
        chain = fleet.open_issuer().issue(request, parse_identity(name), real_utc_s(), 1).chain
        (tmp_path / name).write_bytes(key + chain)
        return open_pinned_tls(str(fleet.ca), str(tmp_path / name), None, real_utc_s)

    with running_broker(fleet, tmp_path / "broker") as broker:
        link = DeviceLink(Endpoint("nowhere", 1), FleetId("test"), DeviceId("one"), 5, is_known=False)
        link.connect(lambda _: None, heard.append, Status(False, 0.0, "b", "0"), random.Random(1))
        with pytest.raises(LinkError, match="not connected yet"):
            link.publish(Channel.EVENTS, EVENT)
        link.use(broker.endpoint, tls("one"), 1.0)
        wait_until(lambda: link.is_connected)
        link.use(broker.endpoint, tls("one.1"), 1.0)
        wait_until(lambda: link.is_connected)
        link.publish(Channel.EVENTS, EVENT)
        wait_until(lambda: "u'one.1'" in broker.log.read_text())
        # Whoever sends hears that the first link is gone, and that before it hears of the second.
        assert heard == [True, False, True]
        link.close(2.0)
        link.use(broker.endpoint, tls("one.2"), 1.0)
        assert not link.is_connected
    assert "u'one.2'" not in broker.log.read_text()
    # A goodbye, not a will: the device was never gone.
    assert "Sending will" not in broker.log.read_text()


def test_it_spreads_its_return_as_it_was_told():
    link = DeviceLink(Endpoint("127.0.0.1", 1), FleetId("test"), DeviceId("one"), 5, spread_s=7.0)
    link.connect(lambda _: None, lambda _: None, Status(False, 0.0, "b", "0"), random.Random(1))
    assert link._client is not None
    assert link._client._spread_s == 7.0
    link.close(2.0)
