"""A live, readable view of a fleet's traffic: one line a message, or its whole body.

It listens, and says nothing: a session of its own that the broker forgets, no acknowledgement that others wait for.
What to show and how a message reads are pure functions; `watch` joins them to a link.
"""

import datetime as dt
import json
import queue
import random
import secrets
import ssl
from collections.abc import Callable, Generator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from broker.client import Delivery, Endpoint, WireClient
from broker.errors import BrokerError, WireError
from broker.messages import (
    AskLabels,
    Body,
    Command,
    Desired,
    Event,
    Labels,
    RecordKey,
    Reply,
    RollBack,
    Samples,
    StartShadow,
    Status,
    Stored,
    TelemetryWindow,
)
from broker.packs import parse_records
from broker.readable import decode_payload
from broker.topics import Channel, FleetId, fleet_filter

# What comes faster than it can be shown is dropped, and said to be.
MAX_WAITING: Final = 10_000
_LOOK_S: Final = 0.2
_LAST_PORT: Final = 65535
_MOST_CHARACTERS: Final = 200


class WatchError(BrokerError):
    """What was asked for cannot be watched: mend the command."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is shown.

    Attributes:
        channels: of these only; empty: of all.
        device: a pattern of device names, ``*`` and ``?`` as in a shell.
        contains: only lines with this text in them, whatever its case.
    """

    channels: AbstractSet[Channel] = frozenset()
    device: str = "*"
    contains: str = ""

    def takes(self, delivery: Delivery) -> bool:
        """Tell by its topic whether a message is wanted."""
        topic = delivery.topic
        return (not self.channels or topic.channel in self.channels) and fnmatchcase(topic.device, self.device)


def parse_endpoint(text: str) -> Endpoint:
    """Read ``HOST:PORT``, also as other commands take it: ``mqtt://HOST:PORT``, ``mqtts://HOST:PORT``.

    Raises:
        WatchError: it is none.
    """
    host, colon, port = text.removeprefix("mqtts://").removeprefix("mqtt://").rpartition(":")
    if not host or "/" in host or not colon or not port.isdecimal() or not 0 < int(port) <= _LAST_PORT:
        raise WatchError(f"broker {text!r}: expected HOST:PORT, for example 127.0.0.1:1883")
    return Endpoint(host.removeprefix("[").removesuffix("]"), int(port))


def filters_of(fleet: FleetId, wanted: Wanted) -> tuple[str, ...]:
    """Return the subscriptions that bring what is wanted."""
    return tuple(
        fleet_filter(fleet, channel) for channel in Channel if not wanted.channels or channel in wanted.channels
    )


def lines_of(delivery: Delivery) -> list[str]:
    """Return a line for each record of a message; of one that cannot be read, why."""
    topic = delivery.topic
    head = f"{topic.device}  {topic.channel.value}"
    mark = " (retained)" if delivery.retained else ""
    try:
        parsed = parse_records(topic.channel, delivery.payload)
    except WireError as error:
        return [f"{head}  REFUSED {_shorten(str(error))}"]
    return [f"{head}{mark}  {_name_of(key)}{_shorten(summary_of(body))}" for key, body in parsed]


def json_of(delivery: Delivery) -> str:
    """Return a message as one line of JSON with the names of its fields."""
    topic = delivery.topic
    said: dict[str, object] = {"device": topic.device, "retained": delivery.retained}
    try:
        said |= decode_payload(topic.channel, delivery.payload)
    except WireError as error:
        said |= {"channel": topic.channel.value, "bytes": len(delivery.payload), "refused": str(error)}
    # Escaped: no terminal takes a text from the wire for orders of its own.
    return json.dumps(said)


def summary_of(body: Body) -> str:  # noqa: PLR0911 - one sentence for each type
    """Return what a body says, in one line for people."""
    match body:
        case Status():
            state = "online" if body.online else "OFFLINE"
            runs = f", runs {body.bundle} {body.variant or ''}".rstrip() if body.bundle else ", runs nothing"
            return f"{state} at {_time(body.at_utc_s)}{runs}, agent {body.agent_version} {body.update_state}".rstrip()
        case TelemetryWindow():
            refused = sum(rows for _, rows in body.rows_refused)
            errors = "".join(f", {times}x {kind}" for kind, times in body.errors)
            span = f"{_time(body.started_utc_s)} for {body.ended_utc_s - body.started_utc_s:.0f} s"
            return f"{body.bundle} {body.variant}: {body.rows_scored} rows scored, {refused} refused, {span}{errors}"
        case Samples():
            reasons = sorted({row.reason for row in body.rows})
            return f"{body.bundle}: {len(body.rows)} rows ({', '.join(reasons)})"
        case Labels():
            return f"{len(body.rows)} labels by {body.source}"
        case Event():
            about = f" {body.bundle}" if body.bundle else ""
            return f"{body.severity}: {body.kind}{about} at {_time(body.at_utc_s)}: {body.reason}"
        case Desired():
            return f"run {body.bundle}, order {body.order_id} by {body.by}: {body.reason}"
        case Stored():
            return f"stored through {body.epoch:08x}/{body.sequence}"
        case Command():
            return f"{body.command_id} by {body.by}: {_order(body)}"
        case Reply():
            return f"{body.command_id}: {'accepted' if body.accepted else 'REFUSED'} {body.reason}".rstrip()


def watch(
    endpoint: Endpoint,
    fleet: FleetId,
    wanted: Wanted,
    *,
    tls: ssl.SSLContext | None = None,
    as_json: bool = False,
    on_link: Callable[[bool], None] | None = None,
) -> Generator[str, None, None]:
    """Yield lines as messages come, for ever; what is retained comes first. Closing it ends the link."""
    waiting: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
    dropped = 0

    def take(delivery: Delivery) -> None:
        nonlocal dropped
        if not wanted.takes(delivery):
            return
        if waiting.qsize() < MAX_WAITING:
            waiting.put(delivery)
        else:
            dropped += 1

    client = WireClient(
        endpoint,
        f"watch-{secrets.token_hex(4)}",
        filters=filters_of(fleet, wanted),
        on_delivery=take,
        rng=random.SystemRandom(),
        on_link=on_link,
        clean_session=True,
        tls=tls,
    )
    client.start()
    try:
        while True:
            try:
                delivery = waiting.get(timeout=_LOOK_S)
            except queue.Empty:
                if dropped:
                    yield f"{dropped} messages came faster than they could be shown"
                    dropped = 0
                continue
            for line in [json_of(delivery)] if as_json else lines_of(delivery):
                if wanted.contains.casefold() in line.casefold():
                    yield line
    finally:
        client.close()


def _order(command: Command) -> str:
    match command.order:
        case AskLabels(rows=rows, ask_id=ask_id):
            return f"ask for labels of {rows} rows ({ask_id})"
        case RollBack(reason=reason):
            return f"roll back: {reason}"
        case StartShadow(bundle=bundle):
            return f"start the shadow {bundle}"
        case order:
            return str(order.__struct_config__.tag).replace("_", " ")


def _name_of(key: RecordKey | None) -> str:
    return "" if key is None else f"{key.epoch:08x}/{key.sequence}  "


def _time(utc_s: float) -> str:
    try:
        return dt.datetime.fromtimestamp(utc_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        # A device's clock may say anything.
        return f"{utc_s:g} s"


def _shorten(text: str) -> str:
    """Return text as one line that no terminal takes for orders of its own."""
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return plain if len(plain) <= _MOST_CHARACTERS else plain[: _MOST_CHARACTERS - 1] + "…"
