"""Chooses the scored rows that are worth a label, within a share of all rows that is never exceeded.

Two reasons to choose: a few rows of every window at random (the *background*, that tells how good the model is), and
the rows that a monitor asked for: a share of them, as it said, for what they are, in equal parts the least certain and
the least like the rows of training, the others at random. A row is offered once and kept only while it may still be
chosen; what is chosen leaves together with the window of its rows.

The share counts rows over the whole life of the sampler's state: rows not used in quiet windows may be used when a
monitor asks. The state, small, is kept in the spool, in the transaction of the window (`Sampler.state`).
"""

import heapq
import itertools
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Final, Generic, TypeVar

import msgspec

from broker.messages import MAX_BYTES, AskLabels, BundleRef, Sample, Samples
from broker.topics import Channel
from edge_agent.scoring.schema import EncodedRow
from edge_agent.scoring.scorer import Prediction

BACKGROUND: Final = "background"
UNCERTAIN: Final = "uncertain"
NOVEL: Final = "novel"
ASKED: Final = "asked"
# The spool's note of what a sampler must not forget.
SAMPLER_NOTE: Final = "sampler"
MAX_PENDING_ASKS: Final = 8
# Rows and bytes of one `Samples` record; the rest of the channel's limit is left to the envelope.
MAX_ROWS_A_RECORD: Final = 1024
MAX_BYTES_A_RECORD: Final = MAX_BYTES[Channel.SAMPLES] - 4096

_ItemT = TypeVar("_ItemT")
_ENCODER: Final = msgspec.msgpack.Encoder()


class PendingAsk(msgspec.Struct, frozen=True, array_like=True):
    """What is still owed of an ask."""

    ask_id: str
    rows: int
    bytes_left: int
    uncertain_share: float = 0.0


class SamplerState(msgspec.Struct, frozen=True, array_like=True):
    """What a sampler must not forget: rows scored and rows sent, ever, and what is still asked."""

    scored: int = 0
    taken: int = 0
    asks: tuple[PendingAsk, ...] = ()


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A row that may still be chosen.

    Attributes:
        features: ``(n_features,)``, None or NaN where missing; or as bytes of float64, to be read if it is chosen.
    """

    prediction_id: str
    scored_utc_s: float
    features: tuple[float | None, ...] | bytes
    prediction: float
    confidence: float
    agrees: bool


class Chosen(msgspec.Struct, frozen=True, gc=False):
    """What was chosen of a window, and the sampler's state at its end; not yet written down."""

    bundle: BundleRef
    background: list[Candidate]
    asked: list[Sample]
    scored: int
    taken: int
    asks: tuple[PendingAsk, ...]

    def samples(self) -> tuple[Samples, ...]:
        """Write down the rows: those of the background, then those asked for."""
        background = [_sample(candidate, BACKGROUND) for candidate in self.background]
        return tuple(_records(self.bundle, [*background, *self.asked]))

    def state(self) -> bytes:
        """Write down what must not be forgotten, as `Sampler.state` does."""
        return _ENCODER.encode(SamplerState(self.scored, self.taken, self.asks))


class Reservoir(Generic[_ItemT]):
    """A uniform sample of everything offered (algorithm R: J. S. Vitter, ACM TOMS 11(1), 1985)."""

    __slots__ = ("_capacity", "_rng", "items", "seen")

    def __init__(self, capacity: int, rng: random.Random) -> None:
        self._capacity = capacity
        self._rng = rng
        self.seen = 0
        self.items: list[_ItemT] = []

    def place(self) -> int | None:
        """Say where the next item goes; None: nowhere, so that it need not even be built."""
        self.seen += 1
        if len(self.items) < self._capacity:
            return len(self.items)
        place = int(self._rng.random() * self.seen)
        return place if place < self._capacity else None

    def places(self, n: int) -> dict[int, int]:
        """Say where items go that are offered together: by place the number, 0 … n - 1, of the item left there."""
        capacity = self._capacity
        if self.seen == 0 and n > capacity:
            self.seen = n
            return dict(enumerate(_choose(n, capacity, self._rng)))
        kept: dict[int, int] = {}
        filled, seen, chance = len(self.items), self.seen, self._rng.random
        for item in range(n):
            seen += 1
            place = filled if filled < capacity else int(chance() * seen)
            if place < capacity:
                kept[place] = item
                filled += place == filled
        self.seen = seen
        return kept

    def put(self, place: int, item: _ItemT) -> None:
        """Put an item where `place` said; of `places`, the lowest first."""
        if place == len(self.items):
            self.items.append(item)
        else:
            self.items[place] = item

    def start_anew(self) -> None:
        """Forget what was offered; whoever has the items keeps them."""
        self.items, self.seen = [], 0

    def shuffled(self) -> list[_ItemT]:
        """Return the sample in random order: its first k are a uniform sample of k."""
        return self._rng.sample(self.items, len(self.items))


class Highest:
    """The rows of the highest marks offered, so many and no more; of equal marks the earlier ones."""

    __slots__ = ("_ties", "capacity", "items")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        # A heap: the lowest mark first, and of equal marks the latest.
        self.items: list[tuple[float, int, Candidate]] = []
        self._ties = itertools.count(0, -1)

    def takes(self, mark: float) -> bool:
        """Tell whether a row of this mark would be kept, so that another need not even be built."""
        return self.capacity > 0 and (len(self.items) < self.capacity or mark > self.items[0][0])

    def put(self, mark: float, candidate: Candidate) -> None:
        """Keep a row that `takes` said yes to."""
        entry = (mark, next(self._ties), candidate)
        if len(self.items) < self.capacity:
            heapq.heappush(self.items, entry)
        else:
            heapq.heapreplace(self.items, entry)

    def ordered(self) -> list[Candidate]:
        """Return the rows, the highest mark first."""
        return [candidate for _, _, candidate in sorted(self.items, key=itemgetter(0, 1), reverse=True)]


class Sampler:
    """Chooses rows, window by window; used by the scoring thread, except `ask`'s caller, who must use the same one."""

    def __init__(
        self, rng: random.Random, background_rows: int, max_label_share: float, state: bytes | None = None
    ) -> None:
        """Start, or go on from the ``state`` of an earlier process; one that cannot be read is forgotten."""
        self._rng = rng
        self._background_rows = background_rows
        self._max_share = max_label_share
        known = _parse_state(state)
        # Rows scored and sent, ever; rows of the open window are not among them.
        self._scored, self._taken = known.scored, known.taken
        self._asks = list(known.asks)
        self._rows = 0
        self._uniform: Reservoir[Candidate] = Reservoir(background_rows, rng)
        self._start_collecting()

    def offer(
        self,
        prediction_id: str,
        scored_utc_s: float,
        row: EncodedRow,
        prediction: Prediction,
        novelty_of: Callable[[Sequence[float]], float] | None = None,
    ) -> None:
        """Offer one scored row; it is copied only if it may be chosen.

        Args:
            prediction_id: unique in the fleet.
            scored_utc_s: UTC seconds.
            row: as the model got it.
            prediction: its answer.
            novelty_of: tells how unlike the rows of training one is; None: nobody knows, and none is chosen for it.
        """

        def candidate(_place: int) -> Candidate:
            value, confidence = prediction.value, prediction.confidence
            return Candidate(prediction_id, scored_utc_s, tuple(row.values), value, confidence, prediction.agrees)

        novelty = None if novelty_of is None else lambda _place: novelty_of(row.values)
        self.offer_many(1, candidate, lambda _place: prediction.uncertainty, novelty)

    def offer_many(
        self,
        n: int,
        candidate: Callable[[int], Candidate],
        uncertainty: Callable[[int], float],
        novelty: Callable[[int], float] | None = None,
    ) -> None:
        """Offer ``n`` scored rows in their order, each as `offer` does; only those that may be chosen are written down.

        Args:
            n: how many.
            candidate: writes a row down, by its place in 0 … n - 1.
            uncertainty: `Prediction.uncertainty` of a row.
            novelty: how unlike the rows of training a row is; None: none is chosen for that.
        """
        self._rows += n
        kept = self._uniform.places(n)
        for place in sorted(kept):
            self._uniform.put(place, candidate(kept[place]))
        if self._asks:
            for index in range(n):
                self._offer_asked(index, candidate, uncertainty, novelty)

    def _offer_asked(
        self,
        index: int,
        candidate: Callable[[int], Candidate],
        uncertainty: Callable[[int], float],
        novelty: Callable[[int], float] | None,
    ) -> None:
        place = self._asked.place()
        unsure, unlike = self._least_sure, self._least_like
        unsure_by = uncertainty(index) if unsure.capacity else 0.0
        unlike_by = novelty(index) if novelty is not None and unlike.capacity else None
        is_unsure = unsure.takes(unsure_by)
        is_unlike = unlike_by is not None and unlike.takes(unlike_by)
        if place is None and not is_unsure and not is_unlike:
            return
        chosen = candidate(index)
        if place is not None:
            self._asked.put(place, chosen)
        if is_unsure:
            unsure.put(unsure_by, chosen)
        if unlike_by is not None and is_unlike:
            unlike.put(unlike_by, chosen)

    def ask(self, order: AskLabels) -> str:
        """Take an order for rows scored from now on; return why it is refused, or an empty text.

        The same order twice is one order. To keep it through a cut, put `state` into the spool before saying yes.
        """
        if any(ask.ask_id == order.ask_id for ask in self._asks):
            return ""
        if len(self._asks) >= MAX_PENDING_ASKS:
            return f"{len(self._asks)} asks are pending already; ask again when they are answered"
        self._asks.append(PendingAsk(order.ask_id, order.rows, order.max_bytes, order.uncertain_share))
        if len(self._asks) == 1:
            self._start_collecting()
        return ""

    @property
    def pending_asks(self) -> tuple[str, ...]:
        """Return the ids of the asks not yet answered in full, oldest first."""
        return tuple(ask.ask_id for ask in self._asks)

    def state(self) -> bytes:
        """Return what must not be forgotten, for the spool's notes: the rows of the open window are not in it."""
        return _ENCODER.encode(SamplerState(self._scored, self._taken, tuple(self._asks)))

    def close_window(self, bundle: BundleRef) -> list[Samples]:
        """Return the chosen rows of the window, all scored by ``bundle``, in as many records as the wire's limits need.

        Rows of the background come first, then those asked for; together never more than the share allows.
        """
        return list(self.end_window(bundle).samples())

    def end_window(self, bundle: BundleRef) -> Chosen:
        """Choose as `close_window` does; return what writes it down, for a thread that has the time."""
        scored = self._scored + self._rows
        allowed = max(0, int(self._max_share * scored + 1e-9) - self._taken)
        wanted = min(self._background_rows, allowed)
        # Where all are taken, their order says nothing.
        kept = self._uniform
        background = kept.items if wanted >= len(kept.items) else kept.shuffled()[:wanted]
        asked: list[Sample] = []
        if self._asks:
            asked = self._answer(allowed - len(background), {candidate.prediction_id for candidate in background})
            self._start_collecting()
        self._scored, self._taken = scored, self._taken + len(background) + len(asked)
        self._rows = 0
        kept.start_anew()
        return Chosen(bundle, background, asked, scored, self._taken, tuple(self._asks))

    def _answer(self, allowed: int, taken: set[str]) -> list[Sample]:
        """Choose rows for the oldest ask: its share for what they are, the others at random, each row once."""
        if not self._asks:
            return []
        ask = self._asks[0]
        wanted = min(ask.rows, allowed)
        n_chosen = round(wanted * ask.uncertain_share)
        n_novel = min(n_chosen // 2, len(self._least_like.items))
        uncertain = _first(self._least_sure.ordered(), n_chosen - n_novel, taken)
        novel = _first(self._least_like.ordered(), n_novel, taken)
        at_random = _first(self._asked.shuffled(), wanted - len(uncertain) - len(novel), taken)
        # In turn, so that a budget of bytes that ends early cuts all kinds.
        turns = itertools.zip_longest(
            (_sample(candidate, UNCERTAIN, ask.ask_id) for candidate in uncertain),
            (_sample(candidate, ASKED, ask.ask_id) for candidate in at_random),
            (_sample(candidate, NOVEL, ask.ask_id) for candidate in novel),
        )
        answer: list[Sample] = []
        bytes_left = ask.bytes_left
        for sample in (sample for turn in turns for sample in turn if sample is not None):
            size_bytes = len(_ENCODER.encode(sample))
            if size_bytes > bytes_left:
                # No further row fits: what was asked is answered as far as its bytes allow.
                del self._asks[0]
                return answer
            bytes_left -= size_bytes
            answer.append(sample)
        rows_left = ask.rows - len(answer)
        self._asks[:1] = [PendingAsk(ask.ask_id, rows_left, bytes_left, ask.uncertain_share)] if rows_left else []
        return answer

    def _start_collecting(self) -> None:
        """Start to collect for the oldest ask; with room for rows that the background, or another kind, will take."""
        owed = self._asks[0].rows if self._asks else 0
        chosen = round(owed * self._asks[0].uncertain_share) if owed else 0
        room = chosen + self._background_rows if chosen else 0
        self._least_sure, self._least_like = Highest(room), Highest(room)
        self._asked: Reservoir[Candidate] = Reservoir(owed + (self._background_rows if owed else 0), self._rng)


def _first(candidates: Sequence[Candidate], n: int, taken: set[str]) -> list[Candidate]:
    """Return the first n that are not taken, and take them."""
    found = [candidate for candidate in candidates if candidate.prediction_id not in taken][:n]
    taken |= {candidate.prediction_id for candidate in found}
    return found


def _choose(n: int, k: int, rng: random.Random) -> list[int]:
    """Choose k of 0 … n - 1, each set as likely as any other (R. W. Floyd, CACM 30(9), 1987), at a draw for each."""
    chosen: dict[int, None] = {}
    chance = rng.random
    for last in range(n - k, n):
        at = int(chance() * (last + 1))
        chosen[last if at in chosen else at] = None
    return list(chosen)


def _features_of(candidate: Candidate) -> tuple[float | None, ...]:
    found = candidate.features
    values = array("d", found) if isinstance(found, bytes) else found
    # NaN is the one number that does not equal itself.
    return tuple(None if value != value else value for value in values)  # noqa: PLR0124


def _sample(candidate: Candidate, reason: str, ask_id: str | None = None) -> Sample:
    return Sample(
        prediction_id=candidate.prediction_id,
        scored_utc_s=candidate.scored_utc_s,
        features=_features_of(candidate),
        prediction=candidate.prediction,
        confidence=candidate.confidence,
        agrees=candidate.agrees,
        reason=reason,
        ask_id=ask_id,
    )


def _records(bundle: BundleRef, samples: list[Sample]) -> Iterator[Samples]:
    """Split samples into records that the wire takes."""
    rows: list[Sample] = []
    size_bytes = 0
    for sample in samples:
        sample_bytes = len(_ENCODER.encode(sample))
        if rows and (len(rows) == MAX_ROWS_A_RECORD or size_bytes + sample_bytes > MAX_BYTES_A_RECORD):
            yield Samples(bundle, tuple(rows))
            rows, size_bytes = [], 0
        rows.append(sample)
        size_bytes += sample_bytes
    if rows:
        yield Samples(bundle, tuple(rows))


def _parse_state(state: bytes | None) -> SamplerState:
    if state is None:
        return SamplerState()
    try:
        return msgspec.msgpack.decode(state, type=SamplerState)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return SamplerState()
