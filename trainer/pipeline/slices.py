"""What a slice of the judged rows shows: told by the evaluation, judged by the gate."""

from msgspec import Struct


class SliceFigures(Struct, frozen=True):
    """Quality on one part of the judged rows; 0 where there is none of it."""

    name: str
    rows: int
    quality: float
