"""A real Mosquitto answers as the oracle does: for every identity, on topics that follow the layout and on others."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.access import Access, may, render_rules
from broker.client import Endpoint
from broker.servers.bare_client import REFUSED, BareClient
from broker.servers.mosquitto import READY_PATTERN, find_mosquitto
from broker.servers.process import LocalBroker, start_broker_process
from broker.topics import SHARDS, Channel, DeviceId, shard_of
from tests.ports import free_port
from tests.unit.broker.test_access import BOTH_FORMS, FLEET

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="no mosquitto here: apt-get install mosquitto"),
]

NAMES = (
    *(identity.name for identity in FLEET.active),
    *FLEET.revoked,
    *("press-7", "operator:nobody", "PRESS-1", "press-1.7"),
)
TOPICS = 60
OMNISCIENT = "the-test"


def rules_broker(folder: Path, *, exact: bool) -> LocalBroker:
    """Mosquitto with our rules, where everybody is who he says he is, and the test may everything."""
    rules = folder / "access.acl"
    rules.write_text(f"user {OMNISCIENT}\ntopic readwrite #\n\n{render_rules(FLEET, exact=exact)}", encoding="utf-8")
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {rules}\nlog_dest stderr\nuser root\n",
        encoding="utf-8",
    )
    program = find_mosquitto()
    assert program is not None
    command = [str(program), "-c", str(config)]
    endpoint = Endpoint("127.0.0.1", port)
    return start_broker_process(command, READY_PATTERN, endpoint=endpoint, kind="mosquitto", folder=folder)


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalBroker]:
    running = rules_broker(tmp_path, exact=request.getfixturevalue("exact"))
    yield running
    running.stop()


def sampled_topics(rng: random.Random) -> list[str]:
    """Topics near to those of our devices: most follow the layout, some differ from it in one level."""
    owners = [name for name in NAMES if ":" not in name] + ["press-9", "operator:anna", ""]
    topics = []
    for _ in range(TOPICS):
        owner = rng.choice(owners)
        shard = shard_of(DeviceId(owner)) if rng.random() < 0.7 else rng.choice(SHARDS)
        levels = ["fieldloop", "1", "plant", shard, owner, rng.choice(list(Channel)).value]
        if rng.random() < 0.2:
            levels[rng.randrange(6)] = rng.choice(["", "x", "other", "2", "$SYS", "desired"])
        if rng.random() < 0.1:
            levels.append("more")
        topics.append("/".join(levels))
    return topics


@BOTH_FORMS
@pytest.mark.parametrize("seed", range(2))
def test_mosquitto_lets_write_exactly_what_the_oracle_allows(broker, exact, seed):
    topics = sampled_topics(random.Random(seed))
    with BareClient(broker.endpoint, "ear", user=OMNISCIENT) as ear:
        ear.subscribe("#", 0)
        expected = []
        for name in NAMES:
            with BareClient(broker.endpoint, name, user=name) as client:
                for topic in topics:
                    client.publish(topic, name.encode())
            expected += [(n, t) for n in [name] for t in topics if may(FLEET, n, t, Access.WRITE, exact=exact)]
        ear.ping()
        heard = [(received.payload.decode(), received.topic) for received in ear.received]
    assert sorted(heard) == sorted(expected)
    assert expected


@BOTH_FORMS
@pytest.mark.parametrize("seed", range(2))
def test_mosquitto_lets_read_exactly_what_the_oracle_allows(broker, exact, seed):
    topics = sampled_topics(random.Random(seed))
    clients = {name: BareClient(broker.endpoint, name, user=name) for name in NAMES}
    for client in clients.values():
        # Mosquitto grants this to anybody; what counts is what comes.
        assert client.subscribe("#", 0) != REFUSED
    with BareClient(broker.endpoint, "mouth", user=OMNISCIENT) as mouth:
        for number, topic in enumerate(topics):
            mouth.publish(topic, str(number).encode())
    for name, client in clients.items():
        client.ping()
        heard = [topics[int(received.payload)] for received in client.received]
        assert heard == [topic for topic in topics if may(FLEET, name, topic, Access.READ, exact=exact)], name
        client.close()


def test_mosquitto_itself_accepts_the_rules(tmp_path):
    broker = rules_broker(tmp_path, exact=False)
    broker.stop()
    assert "Error" not in broker.log.read_text(encoding="utf-8")


def test_a_rule_that_is_wrong_is_noticed_by_these_tests(tmp_path, monkeypatch):
    """The comparison is not vacuous: with one line more Mosquitto allows what the oracle does not."""
    real = render_rules
    monkeypatch.setattr(
        "tests.integration.broker.test_access_rules.render_rules",
        lambda fleet, *, exact: real(fleet, exact=exact).replace(
            "pattern read fieldloop/1/plant/+/%u/desired", "pattern read fieldloop/1/plant/+/+/desired"
        ),
    )
    running = rules_broker(tmp_path, exact=False)
    try:
        with pytest.raises(AssertionError):
            test_mosquitto_lets_read_exactly_what_the_oracle_allows(running, exact=False, seed=0)
    finally:
        running.stop()
