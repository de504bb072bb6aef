"""Packs telemetry windows that are sent together: version 2 of the channel ``telemetry``, smaller and exact.

A pack is another way to carry records of version 1, and nothing more: `pack_payloads` takes them, `unpack` gives back
the same. A pack stands alone: no manifest, no earlier message is needed to read it. The codec in C does the work where
it is built for this machine; `broker/pack_form.py` describes it, and does it elsewhere.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, ParamSpec, TypeVar

from broker.codec.loading import Codec, load_codec
from broker.entropy import DamagedStreamError
from broker.errors import WireError
from broker.messages import (
    MAX_BYTES,
    Body,
    BundleRef,
    FeatureCounts,
    MalformedMessageError,
    MessageTooLargeError,
    RecordKey,
    Resources,
    TelemetryWindow,
    encode_body,
    encode_record,
    parse,
)
from broker.pack_form import MAX_COUNTS, MAX_WINDOWS, Record, read_records, write_records
from broker.topics import Channel

__all__ = [
    "MAX_COUNTS",
    "MAX_WINDOWS",
    "PACK_VERSION",
    "NotPackableError",
    "codec_of_this_machine",
    "pack_payloads",
    "pack_windows",
    "parse_each",
    "parse_records",
    "unpack",
]

PACK_VERSION: Final = 2
_VERSION_BYTE: Final = bytes([PACK_VERSION])
_MAKERS: Final = (RecordKey, BundleRef, FeatureCounts, Resources, TelemetryWindow)

_P = ParamSpec("_P")
_T = TypeVar("_T")

# A record as it travels alone: its key (None: not spooled), its body, its payload of version 1.
Parsed = tuple[RecordKey | None, Body, bytes]


class NotPackableError(WireError):
    """A record that version 1 can carry and a pack cannot, or not within its bounds; send it by itself."""


@cache
def codec_of_this_machine() -> Codec | None:
    """Return the codec in C, loaded at its first use; None: Python has to do."""
    return load_codec()


def pack_windows(records: Sequence[Record]) -> bytes:
    """Return one payload that carries records in their order, each the nearest lower neighbour of the next.

    Raises:
        NotPackableError: they have to be sent as they are.
    """
    return pack_payloads([encode_record(key, encode_body(window)) for key, window in records])


def pack_payloads(payloads: Sequence[bytes]) -> bytes:
    """Return one payload that carries these of version 1, each the nearest lower neighbour of the next.

    What it returns was unpacked again and compared: a pack that does not give back the same payloads is never sent.

    Raises:
        NotPackableError: they have to be sent as they are.
    """
    try:
        return pack_with(codec_of_this_machine(), payloads)
    except NotPackableError:
        raise
    except WireError as error:
        raise NotPackableError(f"telemetry: {error}") from error


def pack_with(codec: Codec | None, payloads: Sequence[bytes]) -> bytes:
    """Pack payloads by a codec, which looks at all of them; by Python where it cannot, or there is none.

    Raises:
        NotPackableError: they are no records in a row, or do not survive it.
        WireError: they are more than a pack takes, or what version 1 refuses.
    """
    if codec is not None:
        try:
            return codec.pack(list(payloads))
        except (ValueError, OverflowError):
            # Python knows the reason by name, or does it.
            pass
    records = [_window_of(payload) for payload in payloads]
    _verify_packable(records)
    packed = _VERSION_BYTE + write_records(records)
    if unpack_with(None, packed) != list(payloads):
        raise NotPackableError("telemetry: these windows do not survive being packed")
    return packed


def unpack(channel: Channel, payload: bytes) -> tuple[bytes, ...]:
    """Return the payloads that a payload carries: of a pack its records, else itself, unread.

    Raises:
        MessageTooLargeError: a pack over its channel's limit; nothing was read.
        MalformedMessageError: no pack, though it says so; nothing of it is returned.
    """
    if not _is_pack(channel, payload):
        return (payload,)
    return tuple(each for _, _, each in parse_each(channel, payload))


def parse_records(channel: Channel, payload: bytes) -> Sequence[tuple[RecordKey | None, Body]]:
    """Read a payload once: of a pack the key and body of every record, else those of the one message that it is.

    Raises:
        WireError: as `parse` and `unpack` do.
    """
    if not _is_pack(channel, payload):
        return [parse(channel, payload)]
    return _read_pack(payload, read_with)


def parse_each(channel: Channel, payload: bytes) -> Sequence[Parsed]:
    """Read a payload as `parse_records` does; of each record also return the payload that it would have come in alone.

    Raises:
        WireError: as `parse` and `unpack` do.
    """
    if not _is_pack(channel, payload):
        return [(*parse(channel, payload), payload)]
    return _read_pack(payload, read_whole_with)


def _read_pack(payload: bytes, read: Callable[[Codec | None, bytes], Sequence[_T]]) -> Sequence[_T]:
    limit = MAX_BYTES[Channel.TELEMETRY]
    if len(payload) > limit:
        msg = f"telemetry: message of {len(payload)} bytes refused unread, at most {limit} are allowed"
        raise MessageTooLargeError(msg)
    try:
        return read(codec_of_this_machine(), payload)
    except DamagedStreamError as error:
        msg = f"telemetry: malformed pack of {len(payload)} bytes: {error}"
        raise MalformedMessageError(msg) from error


def read_with(codec: Codec | None, payload: bytes) -> Sequence[tuple[RecordKey | None, Body]]:
    """Return a pack's records by a codec; by Python where there is none, or numbers are too great for it.

    Raises:
        DamagedStreamError: no pack, or, where the codec read it, one with what version 1 refuses.
        WireError: one with what version 1 refuses.
    """
    # Whatever `parse` refuses, the codec refuses too.
    records = None if codec is None else _said_by(codec.read, payload, _MAKERS)
    if records is not None:
        return records
    # Bounds of numbers and texts are those of version 1, and are looked at in one place.
    return [parse(Channel.TELEMETRY, each) for each in unpack_with(None, payload)]


def read_whole_with(codec: Codec | None, payload: bytes) -> Sequence[Parsed]:
    """Return a pack's records and their payloads of version 1 as `read_with` does."""
    records = None if codec is None else _said_by(codec.read_whole, payload, _MAKERS)
    if records is not None:
        return records
    return [(*parse(Channel.TELEMETRY, each), each) for each in unpack_with(None, payload)]


def unpack_with(codec: Codec | None, payload: bytes) -> list[bytes]:
    """Return a pack's payloads by a codec; by Python where there is none, or numbers are too great for it.

    Raises:
        DamagedStreamError: no pack.
    """
    payloads = None if codec is None else _said_by(codec.unpack, payload)
    if payloads is not None:
        return payloads
    return [encode_record(key, encode_body(window)) for key, window in read_records(memoryview(payload)[1:])]


def _said_by(read: Callable[_P, _T], *payload: _P.args, **named: _P.kwargs) -> _T | None:
    """Return what a codec reads; None: numbers are too great for it, as rare as windows of four thousand million rows.

    Raises:
        DamagedStreamError: it refuses.
    """
    try:
        return read(*payload, **named)
    except ValueError as error:
        raise DamagedStreamError(str(error)) from error
    except OverflowError:
        return None


def _is_pack(channel: Channel, payload: bytes) -> bool:
    return channel is Channel.TELEMETRY and payload[:1] == _VERSION_BYTE


def _window_of(payload: bytes) -> Record:
    key, window = parse(Channel.TELEMETRY, payload)
    if key is None or not isinstance(window, TelemetryWindow):
        msg = f"a {type(window).__name__} stands where a window should"
        raise TypeError(msg)
    return key, window


def _verify_packable(records: Sequence[Record]) -> None:
    if not 1 <= len(records) <= MAX_WINDOWS:
        raise NotPackableError(f"telemetry: {len(records)} windows, from 1 to {MAX_WINDOWS} can be packed")
    before: RecordKey | None = None
    for key, window in records:
        if before is not None and (key.epoch, key.previous) != (before.epoch, before.sequence):
            raise NotPackableError(f"telemetry: record {key.sequence} does not follow record {before.sequence}")
        if key.previous >= key.sequence:
            raise NotPackableError(f"telemetry: record {key.sequence} follows a later one")
        buckets = [bucket for bucket, _ in window.latency]
        if buckets != sorted(set(buckets)) or not all(count for _, count in window.latency):
            raise NotPackableError("telemetry: latency is not in ascending order, or counts nothing")
        before = key
