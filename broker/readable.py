"""Turns a captured payload into names and values that people can read; the wire itself carries positions only."""

from typing import TypeAlias

import msgspec
from msgspec import Struct

from broker.messages import parse
from broker.packs import PACK_VERSION, unpack
from broker.topics import Channel

Readable: TypeAlias = "dict[str, Readable] | list[Readable] | str | int | float | bool | None"


def decode_payload(channel: Channel, payload: bytes) -> dict[str, Readable]:
    """Return a payload of ``channel`` as plain values with field names, ready for JSON.

    Raises:
        WireError: it is not a message of this channel; the error says why.
    """
    records: list[Readable] = []
    for each in unpack(channel, payload):
        key, body = parse(channel, each)
        records.append({"record": None if key is None else _name_fields(key), "body": _name_fields(body)})
    said: dict[str, Readable] = {"channel": channel.value, "version": payload[0], "bytes": len(payload)}
    if payload[0] == PACK_VERSION:
        return said | {"records": records}
    (only,) = records
    return said | only if isinstance(only, dict) else said


def _name_fields(value: object) -> Readable:
    if isinstance(value, Struct):
        tag = value.__struct_config__.tag
        named: dict[str, Readable] = {} if tag is None else {"type": tag}
        return named | {name: _name_fields(field) for name, field in msgspec.structs.asdict(value).items()}
    if isinstance(value, tuple | list):
        return [_name_fields(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a message holds a {type(value).__name__}, which has no readable form")
