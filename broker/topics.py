"""Topics of the wire: who may write where, and how a name becomes a topic and back.

Layout: ``fieldloop/1/<fleet>/<shard>/<device>/<channel>``. The shard is a stable hash of the device, so that monitors
can own disjoint parts of a fleet by subscription alone (shared subscriptions would scatter one device's records, and
several brokers grant them without delivering). This module does no I/O and knows no broker.
"""

import enum
import re
from typing import NewType

from msgspec import Struct

from broker.errors import WireError

FleetId = NewType("FleetId", str)
DeviceId = NewType("DeviceId", str)
Shard = NewType("Shard", str)

ROOT = "fieldloop"
LAYOUT = "1"
MAX_TOPIC_BYTES = 256
SHARDS: tuple[Shard, ...] = tuple(Shard(f"{n:02x}") for n in range(256))

_LEVELS = 6
# Lower case only: some brokers' access rules and file systems fold case, and two devices must never fall together.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")


class Writer(enum.Enum):
    """Who is allowed to publish on a channel."""

    DEVICE = "device"
    TRAINER = "trainer"
    MONITOR = "monitor"
    LABELLER = "labeller"


class Channel(enum.Enum):
    """The last level of a topic: what is said."""

    STATUS = "status"
    TELEMETRY = "telemetry"
    SAMPLES = "samples"
    LABELS = "labels"
    EVENTS = "events"
    DESIRED = "desired"
    STORED = "stored"
    COMMAND = "command"
    REPLY = "reply"


class ChannelRule(Struct, frozen=True):
    """How a channel is used: its writer, whether its last message is retained, whether the device spools it."""

    writer: Writer
    retained: bool
    spooled: bool


RULES: dict[Channel, ChannelRule] = {
    Channel.STATUS: ChannelRule(Writer.DEVICE, retained=True, spooled=False),
    Channel.TELEMETRY: ChannelRule(Writer.DEVICE, retained=False, spooled=True),
    Channel.SAMPLES: ChannelRule(Writer.DEVICE, retained=False, spooled=True),
    Channel.LABELS: ChannelRule(Writer.LABELLER, retained=False, spooled=False),
    Channel.EVENTS: ChannelRule(Writer.DEVICE, retained=False, spooled=True),
    Channel.DESIRED: ChannelRule(Writer.TRAINER, retained=True, spooled=False),
    Channel.STORED: ChannelRule(Writer.MONITOR, retained=True, spooled=False),
    Channel.COMMAND: ChannelRule(Writer.TRAINER, retained=False, spooled=False),
    Channel.REPLY: ChannelRule(Writer.DEVICE, retained=False, spooled=False),
}


class TopicError(WireError):
    """A name or a topic does not follow the layout."""


class Topic(Struct, frozen=True):
    """One address on the wire."""

    fleet: FleetId
    device: DeviceId
    channel: Channel

    def __str__(self) -> str:
        """Return the topic as it is written on the wire."""
        return f"{ROOT}/{LAYOUT}/{self.fleet}/{shard_of(self.device)}/{self.device}/{self.channel.value}"


def shard_of(device: DeviceId) -> Shard:
    """Return the shard of a device: the first byte of BLAKE2b over its name, as two hex digits.

    Never change this: every device, monitor and access rule computes it alone.
    """
    import hashlib  # noqa: PLC0415 - it loads OpenSSL, which takes longer than all else here

    return Shard(hashlib.blake2b(device.encode(), digest_size=1).hexdigest())


def parse_fleet(text: str) -> FleetId:
    """Return ``text`` as a fleet name; raise TopicError when it could not stand in a topic."""
    return FleetId(_parse_name("fleet", text))


def parse_device(text: str) -> DeviceId:
    """Return ``text`` as a device name; raise TopicError when it could not stand in a topic."""
    return DeviceId(_parse_name("device", text))


def parse_topic(text: str) -> Topic:
    """Read a topic as it came from the wire.

    Raises:
        TopicError: it is too long, of another layout, names an unknown channel, or its shard is not its device's.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_TOPIC_BYTES:
        msg = f"topic of {len(text)} characters: at most {MAX_TOPIC_BYTES} bytes are read"
        raise TopicError(msg)
    levels = text.split("/")
    if len(levels) != _LEVELS or levels[0] != ROOT or levels[1] != LAYOUT:
        msg = f"topic {text!r}: expected {ROOT}/{LAYOUT}/<fleet>/<shard>/<device>/<channel>"
        raise TopicError(msg)
    _, _, fleet, shard, device, channel = levels
    try:
        topic = Topic(parse_fleet(fleet), parse_device(device), Channel(channel))
    except ValueError as error:
        msg = f"topic {text!r}: unknown channel {channel!r}"
        raise TopicError(msg) from error
    if shard_of(topic.device) != shard:
        msg = f"topic {text!r}: shard {shard!r} is not that of device {device!r}, {shard_of(topic.device)!r}"
        raise TopicError(msg)
    return topic


def device_filters(fleet: FleetId, device: DeviceId) -> tuple[str, ...]:
    """Return the subscriptions of a device: its own orders and marks, nothing else."""
    return tuple(str(Topic(fleet, device, c)) for c in (Channel.DESIRED, Channel.STORED, Channel.COMMAND))


def shard_filter(fleet: FleetId, shard: Shard, channel: Channel) -> str:
    """Return the subscription to one channel of all devices of one shard."""
    return f"{ROOT}/{LAYOUT}/{fleet}/{shard}/+/{channel.value}"


def fleet_filter(fleet: FleetId, channel: Channel) -> str:
    """Return the subscription to one channel of a whole fleet."""
    return f"{ROOT}/{LAYOUT}/{fleet}/+/+/{channel.value}"


def _parse_name(kind: str, text: str) -> str:
    if _NAME.fullmatch(text) is None:
        msg = (
            f"{kind} name {text[:80]!r}: use 1 to 63 characters of a-z, 0-9, '-' and '_', "
            "starting and ending with a letter or digit"
        )
        raise TopicError(msg)
    return text
