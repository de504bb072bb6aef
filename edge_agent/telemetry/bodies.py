"""What the body of a spooled record says, as far as the spool must know it."""

import logging
from typing import Final

from broker.errors import WireError
from broker.messages import RecordKey, TelemetryWindow, encode_record, parse
from broker.topics import RULES, Channel

# What a record measures on the wire under the longest of names.
_WIDEST_KEY: Final = RecordKey(2**32 - 1, 2**53, 2**53)

_log = logging.getLogger(__name__)


def group_of(channel: Channel, body: bytes) -> str | None:
    """Return the group in which a record may be merged; None when the wire would refuse the record."""
    if not RULES[channel].spooled:
        msg = f"channel {channel.value} is not spooled"
        raise ValueError(msg)
    try:
        _, content = parse(channel, encode_record(_WIDEST_KEY, body))
    except WireError as error:
        _log.error("a record is dropped: the receiver would refuse it: %s", error)
        return None
    return f"{content.bundle} {content.variant}" if isinstance(content, TelemetryWindow) else ""


def parse_window(body: bytes) -> TelemetryWindow:
    """Return the window that a body on the telemetry channel is.

    Raises:
        WireError: it is malformed.
    """
    _, window = parse(Channel.TELEMETRY, encode_record(_WIDEST_KEY, body))
    if not isinstance(window, TelemetryWindow):
        msg = f"a {type(window).__name__} stands where a window should"
        raise TypeError(msg)
    return window
