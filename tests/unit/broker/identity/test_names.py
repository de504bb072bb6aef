import pytest

from broker.identity.names import Identity, IdentityError, Role, parse_identity
from broker.topics import TopicError, parse_device


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        (Identity(Role.DEVICE, "press-1"), "press-1"),
        (Identity(Role.DEVICE, "press-1", 2), "press-1.2"),
        (Identity(Role.OPERATOR, "anna"), "operator:anna"),
        (Identity(Role.MONITOR, "hall-3", 1), "monitor:hall-3.1"),
    ],
)
def test_a_name_is_written_and_read_back(identity, name):
    assert identity.name == name
    assert parse_identity(name) == identity


@pytest.mark.parametrize(
    "name", ["", "Press", "device:press-1", "king:anna", "press-1.0", "press-1.x", "press-1.", "a:b:c", "operator:"]
)
def test_a_name_that_we_do_not_give_is_refused(name):
    with pytest.raises(IdentityError):
        parse_identity(name)


@pytest.mark.parametrize("identity", [Identity(Role.OPERATOR, "anna"), Identity(Role.DEVICE, "press-1").replaced()])
def test_no_device_id_is_the_name_of_a_person_or_of_a_later_generation(identity):
    with pytest.raises(TopicError):
        parse_device(identity.name)
