"""The users of a NATS cluster: each identity of a fleet by its certificate's subject, and the subjects it may use.

NATS 2.9 has no patterns in the rights of configured users, as Mosquitto has; so each identity is written out, and a
device that enrols is let in once the nodes have read the list again. Pure: text from values.
"""

import json
from typing import Final

from broker.access import Access, channels_of
from broker.identity.names import Fleet, Identity, parse_identity
from broker.topics import FleetId, Topic, fleet_filter

# Where JetStream hands a client what it subscribed to with QoS 1; a server makes the subject and no client may ask for
# one by MQTT, but a client without the right gets no QoS 1 at all.
_QOS_1_INBOX: Final = "$MQTT.sub.>"
# MQTT alone: the port of NATS's own clients gives no way round what MQTT refuses.
_MQTT: Final = "MQTT"
# A way in that no node of ours has. A revoked identity must stay in the list, with its rights: NATS 2.9.10 dies of a
# nil pointer when it reads a list in which the writer of a retained message is missing, or may not write it any more.
_UNUSED: Final = "LEAFNODE"
_NOTHING: Final = {"deny": [">"]}


def subject_of(topic_filter: str) -> str:
    """Return the NATS subject that stands for an MQTT topic or filter of ours.

    Raises:
        ValueError: a level is empty or has a character that NATS cannot carry in a topic.
    """
    levels = topic_filter.split("/")
    if not all(levels) or any(character in topic_filter for character in ". *>"):
        raise ValueError(f"{topic_filter!r} has no subject in NATS: an empty level, or one of '. *>'")
    return ".".join({"+": "*", "#": ">"}.get(level, level) for level in levels)


def certificate_subject(identity: Identity, fleet: FleetId) -> str:
    """Return the subject of an identity's certificates as RFC 4514 writes it: what verify_and_map looks for."""
    return f"CN={identity.name},OU={identity.role.value},O={fleet}"


def render_users(fleet: Fleet) -> str:
    """Return the file that the configuration of every node includes: all identities, and what each may do.

    Raises:
        IdentityError: a name is none that we give.
    """
    revoked = {name: parse_identity(name) for name in fleet.revoked}
    known = {identity.name: identity for identity in fleet.active} | revoked
    lines = [f"  {_user(known[name], fleet.fleet, _UNUSED if name in revoked else _MQTT)}\n" for name in sorted(known)]
    head = f"# Identities of fleet {fleet.fleet}, by `fieldloop broker render`; a change here is lost."
    return f"{head}\nusers = [\n{''.join(lines)}]\n"


def _user(identity: Identity, fleet: FleetId, way: str) -> str:
    publish = _subjects(identity, fleet, Access.WRITE)
    subscribe = [*_subjects(identity, fleet, Access.READ), _QOS_1_INBOX]
    # An empty list would allow everything: who writes nothing is denied all.
    return (
        f'{{user: {json.dumps(certificate_subject(identity, fleet))}, allowed_connection_types: ["{way}"], '
        f"permissions: {{publish: {json.dumps(publish or _NOTHING)}, subscribe: {json.dumps(subscribe)}}}}}"
    )


def _subjects(identity: Identity, fleet: FleetId, access: Access) -> list[str]:
    device = identity.device
    return [
        subject_of(fleet_filter(fleet, channel) if device is None else str(Topic(fleet, device, channel)))
        for channel in channels_of(identity.role, access)
    ]
