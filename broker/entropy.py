"""Writes and reads numbers at the cost of what is not known about them: a range coder, in whole numbers only.

rANS (J. Duda: Asymmetric numeral systems, arXiv:1311.2540), 32 bits of state, 16 bits at a time. A `Coder` is a writer,
a reader, or a meter that only counts bits; what is coded is described once, for all three: a writer is given each value
and gives it back, a reader ignores what it is given and gives back what it read. No floating point decides anything,
so that all machines agree to the bit.
"""

import math
from bisect import bisect_right
from functools import cache
from typing import Final, Protocol

from msgspec import Struct

from broker.errors import WireError

MAX_INTEGER_BITS: Final = 53

_WORD_BITS: Final = 16
_WORD: Final = (1 << _WORD_BITS) - 1
_LOWEST: Final = 1 << _WORD_BITS
_STATE_BYTES: Final = 4
_FLAG_BITS: Final = 12
_FLAG_ONE: Final = 1 << _FLAG_BITS
_SLOWEST: Final = 40
_LEAST: Final = 16
TABLE_BITS: Final = 15
_TABLE_MASK: Final = (1 << TABLE_BITS) - 1
_BYTE_BITS: Final = 8
# Lengths of numbers up to this are learnt flag by flag; greater ones cost as many bits as it takes to name them.
_LEARNT_LENGTHS: Final = 12
_LENGTH_BITS: Final = 6


class DamagedStreamError(WireError):
    """A stream ends too early, goes on too long, or says what no writer says."""


class Chance:
    """How likely a flag is set, learnt from the flags before it."""

    __slots__ = ("n", "set_4096")

    def __init__(self) -> None:
        self.set_4096 = _FLAG_ONE // 2
        self.n = 1

    def learn(self, *, is_set: bool) -> None:
        """Move towards what was seen: half of the way at first, then a third, down to a fortieth."""
        if self.n < _SLOWEST:
            self.n += 1
        if is_set:
            self.set_4096 += (_FLAG_ONE - self.set_4096) // self.n
        else:
            self.set_4096 -= self.set_4096 // self.n
        # Neither may ever become impossible.
        self.set_4096 = min(max(self.set_4096, _LEAST), _FLAG_ONE - _LEAST)


class Table(Struct, frozen=True):
    """Frequencies of symbols 0, 1, …: symbol i owns ``[starts[i], starts[i + 1])`` of 2**15.

    Attributes:
        starts: one more than symbols; the last is 2**15.
        radius: of a table of distances: symbol i is the distance i - radius, the last symbol is any other distance.
    """

    starts: tuple[int, ...]
    radius: int


class Coder(Protocol):
    """Writes or reads one value at a time."""

    def flag(self, name: str, value: bool) -> bool:  # noqa: FBT001 - the value is what is coded
        """Code a flag; flags of one name learn from each other."""
        ...

    def bits(self, value: int, n_bits: int) -> int:
        """Code a number of which nothing is known but its greatest length."""
        ...

    def symbol(self, table: Table, value: int) -> int:
        """Code a symbol of a table."""
        ...


class Chances:
    """The chances of one stream, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Chance] = {}

    def of(self, name: str) -> Chance:
        """Return the chance of flags of this name."""
        chance = self._by_name.get(name)
        if chance is None:
            chance = self._by_name[name] = Chance()
        return chance


class Writer:
    """Collects what is coded; `finish` gives the bytes."""

    def __init__(self) -> None:
        self.chances = Chances()
        # (start, frequency, bits): the last is coded first, so that the first is read first.
        self._steps: list[tuple[int, int, int]] = []

    def flag(self, name: str, value: bool) -> bool:  # noqa: FBT001
        """Code a flag by the chance of its name."""
        chance = self.chances.of(name)
        ones = chance.set_4096
        self._steps.append((0, ones, _FLAG_BITS) if value else (ones, _FLAG_ONE - ones, _FLAG_BITS))
        chance.learn(is_set=value)
        return value

    def bits(self, value: int, n_bits: int) -> int:
        """Code a number bit by bit."""
        for at in range(0, n_bits, _WORD_BITS):
            width = min(_WORD_BITS, n_bits - at)
            self._steps.append((value >> at & (1 << width) - 1, 1, width))
        return value

    def symbol(self, table: Table, value: int) -> int:
        """Code a symbol by its frequency."""
        start = table.starts[value]
        self._steps.append((start, table.starts[value + 1] - start, TABLE_BITS))
        return value

    def finish(self) -> bytes:
        """Return everything that was coded."""
        state = _LOWEST
        words: list[int] = []
        for start, frequency, bits in reversed(self._steps):
            if state >= frequency << (2 * _WORD_BITS - bits):
                words.append(state & _WORD)
                state >>= _WORD_BITS
            state = (state // frequency << bits) + state % frequency + start
        words.reverse()
        return state.to_bytes(_STATE_BYTES, "big") + b"".join(word.to_bytes(2, "big") for word in words)


class Reader:
    """Reads what a `Writer` gave.

    Every method raises DamagedStreamError where the stream ends too early; memory is used for what was read only.
    """

    def __init__(self, stream: memoryview) -> None:
        if len(stream) < _STATE_BYTES or len(stream) % 2:
            msg = f"a stream of {len(stream)} bytes is none"
            raise DamagedStreamError(msg)
        self.chances = Chances()
        self._stream = stream
        self._at = _STATE_BYTES
        self._state = int.from_bytes(stream[:_STATE_BYTES], "big")

    def flag(self, name: str, value: bool) -> bool:  # noqa: ARG002, FBT001
        """Code a flag by the chance of its name."""
        chance = self.chances.of(name)
        place, ones = self._state & _FLAG_ONE - 1, chance.set_4096
        is_set = place < ones
        if is_set:
            self._step(0, ones, _FLAG_BITS)
        else:
            self._step(ones, _FLAG_ONE - ones, _FLAG_BITS)
        chance.learn(is_set=is_set)
        return is_set

    def bits(self, value: int, n_bits: int) -> int:
        """Code a number bit by bit."""
        value = 0
        for at in range(0, n_bits, _WORD_BITS):
            width = min(_WORD_BITS, n_bits - at)
            part = self._state & (1 << width) - 1
            self._step(part, 1, width)
            value |= part << at
        return value

    def symbol(self, table: Table, value: int) -> int:  # noqa: ARG002
        """Code a symbol by its frequency."""
        starts, state = table.starts, self._state
        place = state & _TABLE_MASK
        found = bisect_right(starts, place) - 1
        start = starts[found]
        # `_step`, written out: it is most of what reading a pack costs.
        state = (starts[found + 1] - start) * (state >> TABLE_BITS) + place - start
        self._state = state if state >= _LOWEST else self._refilled(state)
        return found

    def finish(self) -> None:
        """Check that all was read.

        Raises:
            DamagedStreamError: something is left, or the state is not where a writer begins.
        """
        if self._at != len(self._stream) or self._state != _LOWEST:
            raise DamagedStreamError("the stream does not end where its content ends")

    def _step(self, start: int, frequency: int, bits: int) -> None:
        state = frequency * (self._state >> bits) + (self._state & (1 << bits) - 1) - start
        self._state = state if state >= _LOWEST else self._refilled(state)

    def _refilled(self, state: int) -> int:
        at = self._at
        if at >= len(self._stream):
            raise DamagedStreamError("the stream ends too early")
        self._at = at + 2
        return state << _WORD_BITS | self._stream[at] << _BYTE_BITS | self._stream[at + 1]


class Meter:
    """Counts the bits that a writer would need; it learns nothing, so it may be asked for several ways to code."""

    def __init__(self, chances: Chances) -> None:
        self._chances = chances
        self.spent = 0.0

    def flag(self, name: str, value: bool) -> bool:  # noqa: FBT001
        """Code a flag by the chance of its name."""
        ones = self._chances.of(name).set_4096
        self.spent -= math.log2((ones if value else _FLAG_ONE - ones) / _FLAG_ONE)
        return value

    def bits(self, value: int, n_bits: int) -> int:
        """Code a number bit by bit."""
        self.spent += n_bits
        return value

    def symbol(self, table: Table, value: int) -> int:
        """Code a symbol by its frequency."""
        self.spent += TABLE_BITS - math.log2(table.starts[value + 1] - table.starts[value])
        return value


def code_integer(coder: Coder, name: str, value: int) -> int:
    """Code a number from 0 to 2**53: its length, learnt by name where it is usual, then its digits.

    Raises:
        DamagedStreamError: what is read is greater.
    """
    wanted = value.bit_length()
    length = 0
    while length <= _LEARNT_LENGTHS and coder.flag(f"{name}>{length}", wanted > length):
        length += 1
    if length > _LEARNT_LENGTHS:
        length += coder.bits(wanted - length, _LENGTH_BITS)
        if length > MAX_INTEGER_BITS + 1:
            msg = f"{name}: a number of {length} bits, at most {MAX_INTEGER_BITS + 1} are allowed"
            raise DamagedStreamError(msg)
    if length <= 1:
        return length
    # The first digit is a one.
    top = 1 << (length - 1)
    return top | coder.bits(value & (top - 1), length - 1)


def code_signed(coder: Coder, name: str, value: int) -> int:
    """Code a number from -(2**53) to 2**53."""
    size = code_integer(coder, name, abs(value))
    return -size if size and coder.flag(f"{name}<0", value < 0) else size


# Variances in sixteenths: from a quarter, each a quarter greater than the one before, rounded up.
_FIRST_VARIANCE: Final = 4
GREATEST_VARIANCE: Final = 16 << 10
_FIXED: Final = 48
_ONE: Final = 1 << _FIXED


def _variances() -> tuple[int, ...]:
    variances = [_FIRST_VARIANCE]
    while variances[-1] < GREATEST_VARIANCE:
        variances.append(-(-variances[-1] * 5 // 4))
    return tuple(variances)


VARIANCES: Final = _variances()


@cache
def normal_table(index: int) -> Table:
    """Return the table of distances from the mean for variance ``VARIANCES[index] / 16``: a bell, in whole numbers.

    The weight of distance r is q**(r*r) with q = exp(-1 / (2 * variance)); the greatest distance is five standard
    deviations. The last symbol, any other distance, has a thousandth.
    """
    variance_16 = VARIANCES[index]
    radius = max(3, 5 * math.isqrt(variance_16) // 4 + 1)
    q = _exp_of_minus(8 * _ONE // variance_16)
    weight, ratio, weights = _ONE, q, [_ONE]
    for _ in range(radius):
        # q**(r*r) from q**((r-1)*(r-1)): times q**(2r-1).
        weight = weight * ratio >> _FIXED
        ratio = ratio * q * q >> 2 * _FIXED
        weights.append(weight)
    ordered = weights[:0:-1] + weights
    room = (1 << TABLE_BITS) - len(ordered) - (1 << TABLE_BITS) // 1000
    total, seen, starts = sum(ordered), 0, []
    for place, weight in enumerate(ordered):
        starts.append(place + room * seen // total)
        seen += weight
    starts += [len(ordered) + room, 1 << TABLE_BITS]
    return Table(tuple(starts), radius)


def _exp_of_minus(x: int) -> int:
    """Return exp(-x) for a fixed-point x >= 0, by its series after halving it often enough."""
    halvings = max(0, (x >> _FIXED).bit_length())
    x >>= halvings
    term, total = _ONE, _ONE
    for n in range(1, 30):
        term = -(term * x >> _FIXED) // n
        total += term
    for _ in range(halvings):
        total = total * total >> _FIXED
    return total
