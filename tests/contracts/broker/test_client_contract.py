"""What the client promises, on every broker that Fieldloop starts."""

import contextlib
import logging
import random
import signal
import socket
import subprocess
import sys
import threading

import pytest

from broker.backoff import STEADY_S
from broker.client import Endpoint
from broker.errors import LinkError
from broker.messages import MAX_BYTES, MessageTooLargeError, Status, encode, parse, parse_as
from broker.packs import unpack
from broker.servers.local import start_local_broker
from broker.topics import RULES, Channel, Topic, fleet_filter, parse_device, parse_fleet
from tests.raw_mqtt import RAW_CONNECT, publish_raw
from tests.unit.broker.wire_examples import EXAMPLES, PRESENT, file_of, present_payload
from tests.waiting import wait_until

FLEET = parse_fleet("stations")
DEVICE = parse_device("station-07")
STATUS = Topic(FLEET, DEVICE, Channel.STATUS)
EVENTS = Topic(FLEET, DEVICE, Channel.EVENTS)
ALL = f"fieldloop/1/{FLEET}/#"
ONLINE = Status(online=True, at_utc_s=1.0, boot_id="b", agent_version="1")
OFFLINE = Status(online=False, at_utc_s=2.0, boot_id="b", agent_version="1")


def numbered(n: int) -> bytes:
    return n.to_bytes(4, "big")


def test_a_payload_of_every_channel_arrives_byte_for_byte_as_it_is_kept_in_the_files(connect):
    _, inbox = connect("reader", ALL)
    device, _ = connect("writer")

    for channel in Channel:
        device.publish_and_wait(Topic(FLEET, DEVICE, channel), present_payload(channel), 10)

    wait_until(lambda: len(inbox.deliveries) == len(Channel))
    for delivery in inbox.deliveries:
        channel = delivery.topic.channel
        assert delivery.payload == file_of(PRESENT[channel], channel).read_bytes()
        read = tuple(parse(channel, each) for each in unpack(channel, delivery.payload))
        assert read == EXAMPLES[PRESENT[channel]][channel]
        assert not delivery.retained


def test_a_mark_needs_no_acknowledgement_and_is_there_at_the_next_connect_all_the_same(connect):
    monitor, _ = connect("writer")
    topic = Topic(FLEET, DEVICE, Channel.STORED)
    _, before = connect("device", str(topic))
    monitor.publish_and_wait(topic, b"first", 10)
    wait_until(lambda: before.payloads == [b"first"])
    monitor.publish_and_wait(topic, b"second", 10)
    _, after = connect("device-again", str(topic))
    # Some brokers say it twice to a new subscriber; it is a state.
    wait_until(lambda: after.payloads[-1:] == [b"second"])
    wait_until(lambda: before.payloads == [b"first", b"second"])


def test_many_messages_arrive_once_and_in_order(connect):
    _, inbox = connect("reader", fleet_filter(FLEET, Channel.EVENTS))
    device, _ = connect("writer", max_queued=5000)

    for n in range(2000):
        device.publish(EVENTS, numbered(n))

    wait_until(lambda: len(inbox.deliveries) >= 2000, 60)
    assert inbox.payloads == [numbered(n) for n in range(2000)]


def test_a_message_of_the_largest_size_arrives(connect):
    _, inbox = connect("reader", ALL)
    device, _ = connect("writer")
    payload = bytes(MAX_BYTES[Channel.SAMPLES])

    device.publish_and_wait(Topic(FLEET, DEVICE, Channel.SAMPLES), payload, 20)

    wait_until(lambda: inbox.payloads == [payload])


@pytest.mark.parametrize("channel", Channel)
def test_a_late_subscriber_hears_what_is_retained_and_nothing_else(connect, channel):
    device, _ = connect("writer")
    device.publish_and_wait(Topic(FLEET, DEVICE, channel), present_payload(channel), 10)
    _, inbox = connect("late", ALL)
    device.publish_and_wait(Topic(FLEET, DEVICE, Channel.REPLY), b"mark", 10)

    wait_until(lambda: b"mark" in inbox.payloads)
    heard = [(delivery.topic.channel, delivery.retained) for delivery in inbox.deliveries[:-1]]
    assert heard == ([(channel, True)] if RULES[channel].retained else [])


def test_the_last_will_of_a_killed_process_is_published_and_retained(connect, broker):
    _, inbox = connect("reader", fleet_filter(FLEET, Channel.STATUS))
    command = [sys.executable, "-m", "tests.contracts.broker.dying_device", str(broker.endpoint.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as device:
        assert device.stdout is not None
        assert device.stdout.readline() == "up\n"
        assert inbox.deliveries == []
        device.kill()

    wait_until(lambda: inbox.deliveries)
    assert not parse_as(Status, Channel.STATUS, inbox.payloads[0]).online
    _, late = connect("late", fleet_filter(FLEET, Channel.STATUS))
    wait_until(lambda: late.deliveries)
    assert late.deliveries[0].retained


def test_a_polite_goodbye_publishes_no_last_will(connect):
    _, inbox = connect("reader", ALL)
    device, _ = connect("device", will=(STATUS, OFFLINE))
    device.publish(STATUS, encode(ONLINE))
    device.close()
    other, _ = connect("other")
    other.publish_and_wait(EVENTS, b"mark", 10)

    wait_until(lambda: b"mark" in inbox.payloads)
    assert inbox.payloads == [encode(ONLINE), b"mark"]


def test_a_client_connects_and_subscribes_again_when_its_broker_comes_back(connect, broker, kind, tmp_path):
    reader, inbox = connect("reader", ALL)
    device, device_inbox = connect("device")
    broker.stop()
    wait_until(lambda: not reader.is_connected and not device.is_connected)
    with pytest.raises(LinkError, match="no link to 127"):
        device.publish(EVENTS, b"lost")

    again = start_local_broker(tmp_path / "broker", port=broker.endpoint.port, kind=kind)
    try:
        wait_until(lambda: reader.is_connected and device.is_connected, 30)
        device.publish_and_wait(EVENTS, b"after", 10)
        wait_until(lambda: inbox.payloads == [b"after"])
        assert inbox.links == device_inbox.links == [True, False, True]
    finally:
        for client in (reader, device):
            client.close()
        again.stop()


def test_what_was_handed_over_before_the_broker_died_is_sent_again(connect, broker, kind, tmp_path):
    device, _ = connect("device")
    # Stopped but not dead: it acknowledges nothing, and the link still looks alive.
    broker.process.send_signal(signal.SIGSTOP)
    device.publish(STATUS, b"handed over")
    with pytest.raises(LinkError, match="did not acknowledge within"):
        device.publish_and_wait(Topic(FLEET, DEVICE, Channel.DESIRED), b"waited for", 0.05)
    broker.process.kill()
    broker.process.wait()

    again = start_local_broker(tmp_path / "again", port=broker.endpoint.port, kind=kind)
    try:
        _, inbox = connect("reader", ALL)
        # Retained, so it does not matter which of the two clients is there first.
        wait_until(lambda: set(inbox.payloads) == {b"handed over", b"waited for"}, 30)
        device.close()
    finally:
        again.stop()


def test_start_returns_at_once_and_the_link_comes_when_the_broker_does(connect, kind, tmp_path, free_port):
    device, inbox = connect("early", ALL, endpoint=Endpoint("127.0.0.1", free_port), wait=False)
    assert not device.is_connected
    with pytest.raises(LinkError, match="no link to"):
        device.publish(EVENTS, b"too early")
    with pytest.raises(LinkError, match="no link to"):
        device.publish_and_wait(EVENTS, b"too early", 5)

    late = start_local_broker(tmp_path / "late", port=free_port, kind=kind)
    try:
        wait_until(lambda: device.is_connected, 30)
        assert inbox.links == [True]
        device.close()
    finally:
        late.stop()


def test_a_link_that_stays_down_is_warned_of_once(connect, free_port, caplog):
    caplog.set_level(logging.DEBUG, "broker.client")
    connect("early", endpoint=Endpoint("127.0.0.1", free_port), wait=False)
    wait_until(lambda: len([r for r in caplog.records if "early: no link" in r.message]) >= 3, 20)
    assert [r.levelname for r in caplog.records if "early: no link" in r.message][:3] == ["WARNING", "DEBUG", "DEBUG"]


def test_messages_on_topics_that_do_not_follow_the_layout_are_counted_and_dropped(connect, broker):
    reader, inbox = connect("reader", "#")
    publish_raw(broker.endpoint, f"fieldloop/1/{FLEET}/00/{DEVICE}/status", b"wrong shard")
    publish_raw(broker.endpoint, "hello", b"not ours")
    device, _ = connect("device")
    device.publish_and_wait(EVENTS, b"ours", 10)

    wait_until(lambda: inbox.payloads == [b"ours"])
    assert reader.refused_topics == 2


def test_a_handler_that_raises_is_logged_with_its_traceback_and_the_link_lives_on(connect, caplog):
    heard: list[bytes] = []

    def fail_first(delivery):
        heard.append(delivery.payload)
        if len(heard) == 1:
            raise ValueError("a surprise")

    reader, inbox = connect("reader", ALL, on_delivery=fail_first)
    device, _ = connect("device")
    device.publish_and_wait(EVENTS, b"one", 10)
    device.publish_and_wait(EVENTS, b"two", 10)

    wait_until(lambda: heard == [b"one", b"two"])
    assert reader.is_connected
    assert inbox.links == [True]
    assert "ValueError: a surprise" in caplog.text


def test_a_handler_may_publish(connect):
    answer = Topic(FLEET, DEVICE, Channel.REPLY)
    _, inbox = connect("asker", fleet_filter(FLEET, Channel.REPLY))

    def reply(delivery):
        device.publish(answer, delivery.payload)

    device, _ = connect("device", fleet_filter(FLEET, Channel.COMMAND), on_delivery=reply)
    asker, _ = connect("asker-2")
    asker.publish(Topic(FLEET, DEVICE, Channel.COMMAND), b"question")
    wait_until(lambda: inbox.payloads == [b"question"])


def test_a_handler_that_would_wait_for_itself_is_told(connect):
    errors: list[str] = []

    def wait_for_itself(_delivery):
        try:
            device.publish_and_wait(EVENTS, b"x", 60)
        except RuntimeError as error:
            errors.append(str(error))

    device, _ = connect("device", fleet_filter(FLEET, Channel.COMMAND), on_delivery=wait_for_itself)
    device.publish(Topic(FLEET, DEVICE, Channel.COMMAND), b"question")
    wait_until(lambda: errors)
    assert "use publish there" in errors[0]


def test_the_queue_of_outgoing_messages_is_bounded(connect, broker):
    device, _ = connect("device", max_queued=5)
    broker.process.send_signal(signal.SIGSTOP)
    try:
        for n in range(5):
            device.publish(EVENTS, numbered(n))
        with pytest.raises(LinkError, match="too many messages wait"):
            device.publish(EVENTS, b"one more")
    finally:
        broker.process.send_signal(signal.SIGCONT)


def test_a_payload_over_its_channels_limit_is_not_sent(connect):
    device, _ = connect("device")
    with pytest.raises(MessageTooLargeError, match="at most 256 are allowed"):
        device.publish(Topic(FLEET, DEVICE, Channel.STORED), bytes(257))


@pytest.mark.parametrize("channel", [Channel.STORED, Channel.DESIRED])
def test_of_a_payload_over_its_channels_limit_no_more_is_kept_than_shows_it(connect, broker, channel):
    _, inbox = connect("reader", fleet_filter(FLEET, channel), fleet_filter(FLEET, Channel.EVENTS))
    limit = MAX_BYTES[channel]
    publish_raw(broker.endpoint, str(Topic(FLEET, DEVICE, channel)), bytes(limit))
    publish_raw(broker.endpoint, str(Topic(FLEET, DEVICE, channel)), bytes(100 * limit))
    device, _ = connect("device")
    device.publish_and_wait(EVENTS, b"mark", 10)

    wait_until(lambda: b"mark" in inbox.payloads)
    assert [len(payload) for payload in inbox.payloads[:2]] == [limit, limit + 1]
    with pytest.raises(MessageTooLargeError):
        parse(channel, inbox.payloads[1])


def test_a_client_whose_links_do_not_hold_waits_longer_each_time_until_one_does(connect):
    now_s = 0.0
    device, inbox = connect("device", monotonic_s=lambda: now_s)

    def cut_link():
        n_ended = inbox.links.count(False)
        device._link.cut()
        wait_until(lambda: inbox.links.count(False) > n_ended)
        wait_until(lambda: device.is_connected, 30)

    for n in range(1, 4):
        cut_link()
        assert device._failures == n
    now_s += STEADY_S
    cut_link()
    assert device._failures == 1


class NoWait(random.Random):
    """Chance that says between what it was asked to choose, and always chooses nothing."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def uniform(self, a, b):
        self.asked.append((a, b))
        return 0.0


def test_one_of_a_fleet_spreads_its_return_once_a_link_was_steady_and_not_before(connect):
    now_s = 0.0
    rng = NoWait()
    device, inbox = connect("device", monotonic_s=lambda: now_s, spread_s=7.0, rng=rng)

    def cut_link():
        n_ended = inbox.links.count(False)
        device._link.cut()
        wait_until(lambda: inbox.links.count(False) > n_ended)
        wait_until(lambda: device.is_connected, 30)
        return rng.asked[-1]

    assert cut_link() == (0.5, 1.0)
    now_s += STEADY_S
    assert cut_link() == (0.0, 7.0)
    # Not steady now: longer each time, from the spread on.
    assert cut_link() == (0.5, 1.0)
    assert device._failures == 2
    now_s += STEADY_S
    assert cut_link() == (0.0, 7.0)


def test_several_threads_may_publish_at_once(connect):
    _, inbox = connect("reader", ALL)
    device, _ = connect("device", max_queued=5000)

    def publish_many(first):
        for n in range(first, first + 200):
            device.publish(EVENTS, numbered(n))

    threads = [threading.Thread(target=publish_many, args=(1000 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(inbox.deliveries) >= 800, 30)
    assert sorted(inbox.payloads) == [numbered(1000 * i + n) for i in range(4) for n in range(200)]


def test_a_client_may_be_closed_twice_and_before_it_ever_had_a_link(connect, free_port):
    device, inbox = connect("early", endpoint=Endpoint("127.0.0.1", free_port), wait=False)
    device.close()
    device.close()
    assert inbox.links == []
    with pytest.raises(LinkError):
        device.publish(EVENTS, b"after the end")


def test_a_packet_over_the_largest_message_is_cut_off_before_it_is_read(broker):
    with socket.create_connection((broker.endpoint.host, broker.endpoint.port), 10) as link:
        link.sendall(RAW_CONNECT)
        assert link.recv(4)[0] == 0x20
        # PUBLISH, announcing 256 MB; the first bytes of it follow.
        link.sendall(b"\x32\xff\xff\xff\x7f" + b"\x00\x03a/b\x00\x01payload")
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(4) == b""
