"""Makes durable what the scoring thread hands over: answers first, then windows, samples and cursor in one step.

While the disk refuses, everything is kept here and nothing more is taken, so that the open window grows instead.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from broker.messages import Event, Resources, encode_body
from broker.topics import Channel
from edge_agent.errors import SpoolError
from edge_agent.facts import read_resources
from edge_agent.handover import Answer, ClosedWindow, Handover, Item
from edge_agent.live import LastWindow, in_short
from edge_agent.sensing.sink import Sink
from edge_agent.telemetry.sampler import SAMPLER_NOTE
from edge_agent.telemetry.spool import Spool

logger = logging.getLogger(__name__)

OUTBOX_NOTE: Final = "outbox"

# More than an outbox holds.
MAX_KNOWN: Final = 256
# Of a window's ends; what follows is noise, and costs six bytes a window on the wire.
TIME_DIGITS: Final = 3
_DIGEST_BYTES: Final = 16

Records = list[tuple[Channel, bytes]]


class Recorder:
    """Writes to one spool and one sink; used by the housekeeping thread.

    Attributes:
        rows_scored, rows_refused, windows: of the windows made durable.
        last_window: the last of them.
        refusal: why the disk took nothing when it was asked last; empty: it took all.
    """

    def __init__(self, spool: Spool, sink: Sink, handover: Handover, state: Path) -> None:
        """Join the parts; ``state`` is the folder whose disk is looked at."""
        self._spool = spool
        self._sink = sink
        self._handover = handover
        self._state = state
        self._items: list[Item] = []
        self._is_sink_refusing = False
        self.refusal = ""
        self.rows_scored = 0
        self.rows_refused = 0
        self.windows = 0
        self.last_window: LastWindow | None = None

    def step(self, timeout_s: float) -> tuple[Answer, ...]:
        """Wait for something to keep, at most so long, and keep it; return what may be replied now that it is durable.

        Raises:
            SpoolError: the disk refuses; nothing is lost, the next step tries again.
        """
        if not self._items:
            self._items = self._handover.take(timeout_s)
        if not self._items:
            if not self._sink.has_room:
                self._flush_sink()
            return ()
        self.refusal = ""
        self._flush_sink()
        try:
            self._put(self._items)
        except SpoolError as error:
            self.refusal = str(error)
            raise
        windows = [item for item in self._items if isinstance(item, ClosedWindow)]
        answers = tuple(item for item in self._items if isinstance(item, Answer))
        self._items = []
        self._handover.done(len(windows))
        for closed in windows:
            self.windows += 1
            self.rows_scored += closed.window.rows_scored
            self.rows_refused += sum(count for _, count in closed.window.rows_refused)
        if windows:
            self.last_window = in_short(windows[-1].window)
        return answers

    def hand_back(self) -> tuple[Item, ...]:
        """Return what was not kept, in order, for another recorder; called when this one is done."""
        items = (*self._items, *self._handover.take(0.0))
        self._items = []
        return items

    @property
    def is_behind(self) -> bool:
        """Whether something is still to be kept."""
        return bool(self._items) or not self._handover.is_empty

    def put_events(self, own: Sequence[Event], outbox: Sequence[Event]) -> None:
        """Make events durable, each of the outbox once, however often it is shown.

        The outbox lies in another file, so a cut or a full disk may leave events there that the spool has already.
        They are known by a note that is written together with them.

        Args:
            own: events of the agent itself.
            outbox: events that wait for the spool elsewhere, oldest first.

        Raises:
            SpoolError: they are not durable.
        """
        records = [(Channel.EVENTS, encode_body(event)) for event in own]
        notes: dict[str, bytes] = {}
        if outbox:
            note = self._spool.note(OUTBOX_NOTE) or b""
            known = {note[at : at + _DIGEST_BYTES] for at in range(0, len(note), _DIGEST_BYTES)}
            named = {_digest(body): body for body in map(encode_body, outbox)}
            new = {digest: body for digest, body in named.items() if digest not in known}
            records += [(Channel.EVENTS, body) for body in new.values()]
            notes[OUTBOX_NOTE] = b"".join((note, *new))[-MAX_KNOWN * _DIGEST_BYTES :]
        if records:
            self._spool.put(records, notes=notes)

    def _put(self, items: Sequence[Item]) -> None:
        records: Records = []
        cursor: int | None = None
        notes: dict[str, bytes] = {}
        resources = _resources(self._state)
        for item in items:
            if item.sampler_state is not None:
                notes[SAMPLER_NOTE] = item.sampler_state
            if isinstance(item, ClosedWindow):
                window = msgspec.structs.replace(
                    item.window,
                    started_utc_s=round(item.window.started_utc_s, TIME_DIGITS),
                    ended_utc_s=round(item.window.ended_utc_s, TIME_DIGITS),
                    resources=resources,
                )
                records.append((Channel.TELEMETRY, encode_body(window)))
                records += [(Channel.SAMPLES, encode_body(samples)) for samples in item.samples]
                cursor = item.cursor
        if records or notes:
            self._spool.put(records, cursor, notes)

    def _flush_sink(self) -> None:
        """Have the answers on disk before their rows count; a sink that refuses does not hold up telemetry."""
        try:
            self._sink.flush()
        except OSError as error:
            level = logging.DEBUG if self._is_sink_refusing else logging.ERROR
            logger.log(level, "answers cannot be written now, they wait in memory: %s", error)
            self._is_sink_refusing = True
            self.refusal = f"answers cannot be written: {error}"
        else:
            self._is_sink_refusing = False


def _resources(state: Path) -> Resources | None:
    """Return what the process takes of the board, None where the wire would refuse it: a window is worth more."""
    resources = read_resources(state)
    try:
        return msgspec.convert(msgspec.to_builtins(resources), Resources)
    except msgspec.ValidationError as error:
        logger.debug("the board says what cannot be: %s", error)
        return None


def _digest(body: bytes) -> bytes:
    import hashlib  # noqa: PLC0415 - it loads OpenSSL, and most starts tell no event

    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
