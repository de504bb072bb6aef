"""Who may read and write what at a broker: rights of roles and devices, and the rules that have Mosquitto hold them.

What a channel is for stands in ``topics.RULES``; here stands which role is which writer, and what each role reads. A
broker gives nothing that is not named. Rules come in two forms:

- *by pattern*: one set of lines for all devices, however many, by the name in their certificate. A device that has just
  enrolled is in at once. The shard cannot stand in a pattern (it is a hash of the device), so a device can write its
  own name under a false shard; nobody takes that for true (``parse_topic`` refuses it), but the broker keeps what is
  retained there.
- *exact*: the topics of each active device, and nothing for a name that is not in the register. Closes false shards;
  grows with the fleet, and each change needs new rules.

Pure: no files, no broker. `may` and `render_rules` are written apart from each other, so that a test can compare them.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from broker.identity.names import Fleet, Identity, Role, parse_identity
from broker.topics import LAYOUT, ROOT, RULES, Channel, DeviceId, FleetId, Topic, Writer, fleet_filter, shard_of


class Access(enum.Enum):
    """What somebody wants to do with a topic."""

    READ = "read"
    WRITE = "write"


_LEVELS: Final = 6

_WRITES_AS: Final[Mapping[Role, frozenset[Writer]]] = {
    Role.DEVICE: frozenset({Writer.DEVICE}),
    Role.OPERATOR: frozenset({Writer.TRAINER}),
    # The loop sends orders and stores what comes: `fieldloop monitor` is both in one process.
    Role.TRAINER: frozenset({Writer.TRAINER, Writer.MONITOR}),
    Role.MONITOR: frozenset({Writer.MONITOR}),
    Role.LABELLER: frozenset({Writer.LABELLER}),
    Role.READER: frozenset(),
}
_ORDERS: Final = frozenset({Channel.DESIRED, Channel.STORED, Channel.COMMAND})
_REPORTS: Final = frozenset(Channel) - _ORDERS
_READS: Final[Mapping[Role, frozenset[Channel]]] = {
    Role.DEVICE: _ORDERS,
    Role.OPERATOR: frozenset(Channel),
    Role.TRAINER: frozenset(Channel),
    Role.MONITOR: _REPORTS,
    Role.LABELLER: frozenset({Channel.SAMPLES}),
    Role.READER: frozenset(Channel),
}


def channels_of(role: Role, access: Access) -> tuple[Channel, ...]:
    """Return the channels that a role may read or write: of its own device, or of all where it is no device."""
    if access is Access.READ:
        return tuple(channel for channel in Channel if channel in _READS[role])
    return tuple(channel for channel in Channel if RULES[channel].writer in _WRITES_AS[role])


def may(fleet: Fleet, name: str, topic: str, access: Access, *, exact: bool = False) -> bool:
    """Tell whether somebody may do something: what a broker with these rules must answer.

    Args:
        fleet: the identities.
        name: common name of the certificate; the broker has checked who signed it.
        topic: without wildcards; need not follow the layout.
        access: read or write.
        exact: by which form of the rules.
    """
    levels = topic.split("/")
    if name in fleet.revoked or len(levels) != _LEVELS or levels[:3] != [ROOT, LAYOUT, fleet.fleet]:
        return False
    shard, owner, channel = levels[3:]
    identity = next((identity for identity in fleet.active if identity.name == name), None)
    if identity is None:
        # A pattern lets in a new device. Any other name that the fleet's authority signed gets only what is its own.
        return not exact and owner == name and channel in _names_of(Role.DEVICE, access)
    if channel not in _names_of(identity.role, access):
        return False
    if exact:
        return identity.device is None or (owner == identity.device and shard == shard_of(identity.device))
    if identity.device is None:
        return owner != name  # a pattern would give people a topic of their own name; no device can have it
    return owner == identity.device and (identity.is_first or shard == shard_of(identity.device))


def render_rules(fleet: Fleet, *, exact: bool = False) -> str:
    """Return the content of Mosquitto's ``acl_file``.

    Raises:
        IdentityError: a name is none that we give; it could end a line and begin another.
    """
    lines = [f"# Access rules of fleet {fleet.fleet}, by `fieldloop broker render`; a change here is lost."]
    if not exact:
        # Of what follows a user's own lines are asked first, and of these the denials; then the patterns.
        lines += [f"pattern {access.value} {topic}" for access, topic in _pattern_grants(fleet.fleet)]
        for name in sorted({parse_identity(name).name for name in fleet.revoked}):
            lines += ["", f"user {name}", "topic deny #"]
    revoked = frozenset(fleet.revoked)
    for identity in sorted(fleet.active, key=lambda identity: identity.name):
        name = parse_identity(identity.name).name
        if name in revoked:
            continue
        grants = [f"topic {access.value} {topic}" for access, topic in _grants_of(fleet.fleet, identity, exact=exact)]
        own_name = [f"topic deny {ROOT}/{LAYOUT}/{fleet.fleet}/+/{name}/#"] if not exact and grants else []
        if grants:
            lines += ["", f"user {name}", *own_name, *grants]
    return "\n".join(lines) + "\n"


def rights_table(fleet: FleetId) -> Iterator[tuple[Role, Access, Channel, str]]:
    """Yield what each role may do, and to which topics, for people to read."""
    for role in Role:
        for access in Access:
            for channel in channels_of(role, access):
                topic = f"{ROOT}/{LAYOUT}/{fleet}/<shard>/<its own name>/{channel.value}"
                yield role, access, channel, topic if role is Role.DEVICE else fleet_filter(fleet, channel)


def _names_of(role: Role, access: Access) -> frozenset[str]:
    return frozenset(channel.value for channel in channels_of(role, access))


def _pattern_grants(fleet: FleetId) -> Iterable[tuple[Access, str]]:
    for access in Access:
        for channel in channels_of(Role.DEVICE, access):
            yield access, f"{ROOT}/{LAYOUT}/{fleet}/+/%u/{channel.value}"


def _grants_of(fleet: FleetId, identity: Identity, *, exact: bool) -> Iterable[tuple[Access, str]]:
    device: DeviceId | None = identity.device
    if device is not None and identity.is_first and not exact:
        return  # The patterns serve it.
    for access in Access:
        for channel in channels_of(identity.role, access):
            yield access, fleet_filter(fleet, channel) if device is None else str(Topic(fleet, device, channel))
