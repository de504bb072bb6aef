"""The users of a NATS cluster are the identities of the fleet, with the rights of the access rules."""

import json
import re

import pytest

from broker.access import Access, may
from broker.identity.names import Fleet, Identity, IdentityError, Role
from broker.servers.nats_users import certificate_subject, render_users, subject_of
from broker.topics import SHARDS, Channel, FleetId

PLANT = FleetId("plant")
ACTIVE = (
    Identity(Role.DEVICE, "press-1"),
    Identity(Role.DEVICE, "press-2", 1),
    Identity(Role.OPERATOR, "anna"),
    Identity(Role.MONITOR, "m1"),
    Identity(Role.READER, "eye"),
    Identity(Role.LABELLER, "lab"),
    Identity(Role.TRAINER, "loop"),
)
FLEET = Fleet(PLANT, ACTIVE, ("operator:left", "press-2"))
_LINE = re.compile(
    r'\{user: (".*?"), allowed_connection_types: (\[.*?\]), permissions: \{publish: (.*), subscribe: (.*)\}\}'
)


def users(fleet: Fleet = FLEET) -> dict[str, tuple[list[str], object, list[str]]]:
    """Read the rendered list: by subject the ways in, and the subjects to publish and to subscribe to."""
    found = {}
    for line in render_users(fleet).splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is not None:
            user, ways, publish, subscribe = map(json.loads, match.groups())
            found[user] = (ways, publish, subscribe)
    return found


def matches(subjects: object, subject: str) -> bool:
    """Whether NATS lets a literal subject through a list of subjects."""
    levels = subject.split(".")
    return isinstance(subjects, list) and any(
        len(levels) == len(allowed.split("."))
        and all(b in {"*", a} for a, b in zip(levels, allowed.split("."), strict=True))
        for allowed in subjects
    )


def test_a_topic_is_a_subject_and_wildcards_have_their_like():
    assert subject_of("fieldloop/1/plant/+/press-1/desired") == "fieldloop.1.plant.*.press-1.desired"
    assert subject_of("fieldloop/#") == "fieldloop.>"


@pytest.mark.parametrize("topic", ["a.b/c", "a b", "a//b", "a/*", "a/>", "/a", "a/"])
def test_what_nats_cannot_carry_is_refused(topic):
    with pytest.raises(ValueError, match="has no subject in NATS"):
        subject_of(topic)


def test_a_subject_names_identity_role_and_fleet():
    assert certificate_subject(ACTIVE[1], PLANT) == "CN=press-2.1,OU=device,O=plant"
    assert certificate_subject(ACTIVE[2], PLANT) == "CN=operator:anna,OU=operator,O=plant"


@pytest.mark.parametrize("identity", ACTIVE, ids=lambda identity: identity.name)
def test_the_rights_are_those_of_the_oracle_in_its_exact_form(identity):
    ways, publish, subscribe = users()[certificate_subject(identity, PLANT)]
    assert ways == ["MQTT"]
    for owner in ("press-1", "press-2", "press-9"):
        for shard in (*SHARDS[::5], "4c", "eb"):
            for channel in Channel:
                topic = f"fieldloop/1/plant/{shard}/{owner}/{channel.value}"
                subject = subject_of(topic)
                assert matches(publish, subject) == may(FLEET, identity.name, topic, Access.WRITE, exact=True)
                assert matches(subscribe, subject) == may(FLEET, identity.name, topic, Access.READ, exact=True)


def test_who_writes_nothing_is_denied_all_because_an_empty_list_would_allow_all():
    assert users()["CN=reader:eye,OU=reader,O=plant"][1] == {"deny": [">"]}


def test_a_revoked_name_stays_in_the_list_with_its_rights_and_without_a_way_in():
    ways, publish, _ = users()["CN=operator:left,OU=operator,O=plant"]
    assert ways == ["LEAFNODE"]
    assert matches(publish, "fieldloop.1.plant.4c.press-1.desired")
    assert users()["CN=press-2,OU=device,O=plant"][0] == ["LEAFNODE"]
    assert users()["CN=press-2.1,OU=device,O=plant"][0] == ["MQTT"]


def test_a_name_that_is_active_and_revoked_at_once_is_not_let_in():
    assert users(Fleet(PLANT, ACTIVE, ("press-1",)))["CN=press-1,OU=device,O=plant"][0] == ["LEAFNODE"]


def test_a_name_that_is_none_of_ours_is_refused_because_it_could_write_lines_of_its_own():
    with pytest.raises(IdentityError):
        render_users(Fleet(PLANT, ACTIVE, ('x"}, {user: "y',)))
