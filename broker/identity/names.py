"""Who is who on the wire: the names that certificates carry, and what a broker's access rules need to know of them.

A certificate's common name is the user name that a broker sees. Of a device it is the device id; a person or a service
is called ``<role>:<name>``, which no device can be, because ``:`` cannot stand in a device id. What had to be replaced
(a key that got into other hands) gets a *generation*: ``press-1`` becomes ``press-1.1``, and the old name is revoked by
access rule, so that an old certificate is of no use although its dates are good. Pure: no files, no cryptography.
"""

import enum
import re
from dataclasses import dataclass

from broker.errors import BrokerError
from broker.topics import DeviceId, FleetId, TopicError, parse_device

_GENERATION = re.compile(r"[1-9][0-9]{0,8}")


class IdentityError(BrokerError):
    """An identity cannot be made, found or used as asked; says what to do."""

    exit_code = 1


class Role(enum.Enum):
    """What an identity is for; stands as organisational unit in its certificate."""

    DEVICE = "device"
    OPERATOR = "operator"
    MONITOR = "monitor"
    LABELLER = "labeller"
    READER = "reader"
    TRAINER = "trainer"


@dataclass(frozen=True, slots=True)
class Identity:
    """One device, person or service, as a broker knows it.

    Attributes:
        role: what it is for.
        owner: the device's id, or the name of the person or service.
        generation: how often it was replaced; 0 for almost all.
    """

    role: Role
    owner: str
    generation: int = 0

    @property
    def name(self) -> str:
        """The common name of its certificates, which is its user name at the broker."""
        kind = "" if self.role is Role.DEVICE else f"{self.role.value}:"
        return f"{kind}{self.owner}" + (f".{self.generation}" if self.generation else "")

    @property
    def device(self) -> DeviceId | None:
        """The device whose topics it may write; None for people and services."""
        return DeviceId(self.owner) if self.role is Role.DEVICE else None

    @property
    def is_first(self) -> bool:
        """Whether it was never replaced: then a device's name is its id, and one pattern serves all of them."""
        return self.generation == 0

    def replaced(self) -> "Identity":
        """Return the identity that takes over from this one."""
        return Identity(self.role, self.owner, self.generation + 1)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What access rules are made of: a view of the register, frozen.

    Attributes:
        fleet: whose identities these are.
        active: identities that hold, by name; a device that is to enrol itself is not among them before it did.
        revoked: names that hold no more, though a certificate of theirs may still be good by its dates; by name.
    """

    fleet: FleetId
    active: tuple[Identity, ...]
    revoked: tuple[str, ...]


def parse_identity(name: str) -> Identity:
    """Read a user name, as a certificate or a broker's log carries it.

    Raises:
        IdentityError: it is no name that we give.
    """
    role_text, colon, rest = name.partition(":")
    if not colon:
        role_text, rest = Role.DEVICE.value, name
    owner, dot, generation_text = rest.partition(".")
    try:
        role = Role(role_text)
        owner = parse_device(owner)
    except ValueError as error:
        roles = ", ".join(each.value for each in Role)
        raise IdentityError(f"{name[:80]!r}: no role {role_text[:40]!r}; there are {roles}") from error
    except TopicError as error:
        raise IdentityError(f"{name[:80]!r} is not the name of an identity: {error}") from error
    if (colon and role is Role.DEVICE) or (dot and _GENERATION.fullmatch(generation_text) is None):
        raise IdentityError(f"{name[:80]!r} is not the name of an identity: write press-1, press-1.2 or operator:anna")
    return Identity(role, owner, int(generation_text) if dot else 0)
