"""What the agent and the process of a shadow say to each other; a length in four bytes stands before each message."""

from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.update.record import Content

LENGTH_BYTES: Final = 4
MAX_MESSAGE_BYTES: Final = 16 << 20
MAX_COUNTS_BYTES: Final = 4096

# A value as a source gives it.
Value = float | str | None


class ShadowOrder(Struct, frozen=True, array_like=True):
    """What the process is to score with.

    Attributes:
        slot: folder of its bundle.
        content: what lies there.
        features: names of the values of each row, in their order.
    """

    slot: str
    content: Content
    features: tuple[str, ...]


class ShadowRow(Struct, frozen=True, array_like=True):
    """A row, and what the bundle that counts said of it.

    Attributes:
        label: the predicted label; None for regression.
        value: the predicted value; for a label of no interest.
    """

    values: tuple[Value, ...]
    label: str | None
    value: float


class ShadowCounts(Struct, frozen=True, array_like=True):
    """What the process counted since it began; sent after each batch, which asks for the next one.

    Attributes:
        error: why it scores nothing and ends; empty: it goes on.
    """

    rows: int = 0
    disagreements: int = 0
    difference_sum: float = 0.0
    refused: int = 0
    median_latency_us: float = 0.0
    error: str = ""


ROWS: Final = msgspec.msgpack.Decoder(list[ShadowRow])
ORDER: Final = msgspec.msgpack.Decoder(ShadowOrder)
COUNTS: Final = msgspec.msgpack.Decoder(ShadowCounts)
_ENCODER: Final = msgspec.msgpack.Encoder()


def framed(message: ShadowOrder | ShadowCounts | list[ShadowRow]) -> bytes:
    """Return a message with its length before it."""
    data = _ENCODER.encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data
