"""Who may do what, as a table; and the rules that say it to Mosquitto, as text."""

import pytest

from broker.access import Access, channels_of, may, render_rules, rights_table
from broker.identity.names import Fleet, Identity, IdentityError, Role
from broker.topics import RULES, Channel, DeviceId, FleetId, Topic, Writer, shard_of

PLANT = FleetId("plant")
PRESS = DeviceId("press-1")
FLEET = Fleet(
    PLANT,
    (
        Identity(Role.DEVICE, "press-1"),
        Identity(Role.DEVICE, "press-3", 1),
        Identity(Role.MONITOR, "m0"),
        Identity(Role.TRAINER, "loop"),
        Identity(Role.OPERATOR, "anna"),
        Identity(Role.LABELLER, "lab"),
        Identity(Role.READER, "wall"),
    ),
    ("press-2", "press-3", "operator:carl"),
)
BOTH_FORMS = pytest.mark.parametrize("exact", [False, True], ids=["pattern", "exact"])


def topic_of(device: str, channel: Channel) -> str:
    return str(Topic(PLANT, DeviceId(device), channel))


@BOTH_FORMS
@pytest.mark.parametrize("channel", Channel)
def test_a_device_writes_its_own_reports_and_reads_its_own_orders_and_nothing_of_another(channel, exact):
    own, other = topic_of("press-1", channel), topic_of("press-9", channel)
    writes = RULES[channel].writer is Writer.DEVICE
    reads = channel in {Channel.DESIRED, Channel.STORED, Channel.COMMAND}
    assert may(FLEET, "press-1", own, Access.WRITE, exact=exact) == writes
    assert may(FLEET, "press-1", own, Access.READ, exact=exact) == reads
    assert not may(FLEET, "press-1", other, Access.WRITE, exact=exact)
    assert not may(FLEET, "press-1", other, Access.READ, exact=exact)


@pytest.mark.parametrize(
    ("name", "writes", "reads"),
    [
        ("monitor:m0", {"stored"}, {"status", "telemetry", "samples", "labels", "events", "reply"}),
        ("trainer:loop", {"desired", "command", "stored"}, {channel.value for channel in Channel}),
        ("operator:anna", {"desired", "command"}, {channel.value for channel in Channel}),
        ("labeller:lab", {"labels"}, {"samples"}),
        ("reader:wall", set(), {channel.value for channel in Channel}),
    ],
)
@BOTH_FORMS
def test_what_people_and_services_may(name, writes, reads, exact):
    def allowed(access: Access) -> set[str]:
        return {c.value for c in Channel if may(FLEET, name, topic_of("press-1", c), access, exact=exact)}

    assert allowed(Access.WRITE) == writes
    assert allowed(Access.READ) == reads


@BOTH_FORMS
@pytest.mark.parametrize("name", ["press-2", "press-3", "operator:carl", "operator:nobody", "root", "", "a:b:c", "+"])
def test_who_is_revoked_or_unknown_may_nothing_of_others(name, exact):
    for access in Access:
        for channel in Channel:
            assert not may(FLEET, name, topic_of("press-1", channel), access, exact=exact)
            if name in FLEET.revoked:
                assert not may(FLEET, name, topic_of("press-2", channel), access, exact=exact)


@BOTH_FORMS
def test_an_identity_that_took_over_writes_under_the_devices_name_and_the_old_one_does_not(exact):
    status = topic_of("press-3", Channel.STATUS)
    assert may(FLEET, "press-3.1", status, Access.WRITE, exact=exact)
    assert not may(FLEET, "press-3", status, Access.WRITE, exact=exact)
    assert not may(FLEET, "press-3.1", status.replace("press-3", "press-3.1"), Access.WRITE, exact=exact)


def test_a_false_shard_is_open_to_a_pattern_and_closed_to_exact_rules():
    right = shard_of(PRESS)
    wrong = "00" if right != "00" else "01"
    status = topic_of("press-1", Channel.STATUS).replace(f"/{right}/", f"/{wrong}/")
    assert may(FLEET, "press-1", status, Access.WRITE)
    assert not may(FLEET, "press-1", status, Access.WRITE, exact=True)


def test_a_new_device_is_in_by_a_pattern_at_once_and_by_exact_rules_once_it_is_named():
    status = topic_of("press-7", Channel.STATUS)
    assert may(FLEET, "press-7", status, Access.WRITE)
    assert not may(FLEET, "press-7", status, Access.WRITE, exact=True)


@pytest.mark.parametrize("topic", ["fieldloop/2/plant/4c/press-1/status", "fieldloop/1/other/4c/press-1/status", "#"])
def test_another_layout_or_fleet_is_nobodys(topic):
    for name in ("press-1", "trainer:loop", "reader:wall"):
        assert not any(may(FLEET, name, topic, access) for access in Access)


def test_every_channel_has_a_role_that_writes_it_and_a_role_that_reads_it():
    for access in Access:
        covered = {channel for role in Role for channel in channels_of(role, access)}
        assert covered == set(Channel)


def test_rules_by_pattern_do_not_grow_with_the_fleet_and_exact_ones_do():
    many = Fleet(PLANT, tuple(Identity(Role.DEVICE, f"press-{n}") for n in range(100)), ())
    assert render_rules(many) == render_rules(Fleet(PLANT, (), ()))
    exact = render_rules(many, exact=True)
    assert "pattern" not in exact
    assert exact.count("user press-") == 100


@BOTH_FORMS
def test_a_name_that_would_begin_a_line_of_its_own_is_refused(exact):
    evil = Identity(Role.READER, "wall\ntopic readwrite #")
    with pytest.raises(IdentityError):
        render_rules(Fleet(PLANT, (evil,), ()), exact=exact)
    if not exact:
        with pytest.raises(IdentityError):
            render_rules(Fleet(PLANT, (), ("press-1\ntopic readwrite #",)))


def test_the_table_for_people_names_each_right_once():
    rows = list(rights_table(PLANT))
    assert len({(role, access, channel) for role, access, channel, _ in rows}) == len(rows)
    assert (Role.LABELLER, Access.WRITE, Channel.LABELS, "fieldloop/1/plant/+/+/labels") in rows
