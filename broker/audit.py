"""The audit log: one line for each order that was given, written and synced before the order goes out.

A line carries the hash of the line before it and its own, so that a changed, removed or inserted line is found. Who can
write the file can also make all of it anew: keep its last hash elsewhere now and then, and `verify` against it. A line
that a crash cut short was never acknowledged, and its order was not sent; the next append takes it away.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from broker.errors import BrokerError, WireError
from broker.messages import Command, Desired, parse
from broker.topics import Channel, Topic

AUDIT_NAME: Final = "audit.jsonl"
# What the first line calls the hash of the line before it.
START: Final = "0" * 64

_MODE: Final = 0o600
# One character takes at most 6 bytes of JSON.
_MAX_LINE_BYTES: Final = 32 << 10
_MAX_TEXT: Final = 2048
_MAX_NAME: Final = 256
_ORDERS: Final = frozenset({Channel.DESIRED, Channel.COMMAND})


class AuditError(BrokerError):
    """The audit log cannot be written or read, or is not as it was written."""

    exit_code = 1


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line.

    Attributes:
        number: 1 for the first line, then upwards.
        at_utc_s: when it was written.
        by: who gave the order: an identity of the fleet, or a user of this machine.
        what: ``desired``, ``command.roll_back``, ``revoke`` and the like.
        device: whom it is for; empty: nobody in particular.
        order_id: of the order, where it has one.
        detail: for people.
        previous: hash of the line before.
        hash: of this line, see `hash_of`.
    """

    number: int
    at_utc_s: float
    by: str
    what: str
    device: str
    order_id: str
    detail: str
    previous: str
    hash: str = ""


def hash_of(entry: Entry) -> str:
    """Return SHA-256 over a line's JSON with an empty ``hash``; the hash of the line before is a part of it."""
    return hashlib.sha256(_ENCODER.encode(msgspec.structs.replace(entry, hash=""))).hexdigest()


class AuditLog:
    """Appends to one file; several processes may share it."""

    def __init__(self, path: Path, utc_s: Callable[[], float]) -> None:
        """Give it its place and its clock; the file is made by the first order."""
        self.path = path
        self._utc_s = utc_s
        self._lock = threading.Lock()

    def append(self, *, by: str, what: str, device: str = "", order_id: str = "", detail: str = "") -> Entry:
        """Write a line, and return once it is on disk.

        Raises:
            AuditError: it cannot be written, or the file's end is not what this program writes; give no order then.
        """
        try:
            with self._lock, _locked(self.path) as descriptor:
                number, previous = _end_of(descriptor, self.path)
                entry = Entry(
                    number + 1,
                    # A whole number would be read back as another one's text.
                    float(self._utc_s()),
                    by[:_MAX_NAME],
                    what[:_MAX_NAME],
                    device[:_MAX_NAME],
                    order_id[:_MAX_NAME],
                    detail[:_MAX_TEXT],
                    previous,
                )
                entry = msgspec.structs.replace(entry, hash=hash_of(entry))
                _write_all(descriptor, _ENCODER.encode(entry) + b"\n")
                os.fsync(descriptor)
        except OSError as error:
            raise AuditError(f"{self.path}: the order is not written down, so it is not given: {error}") from error
        return entry


class AuditedPublisher:
    """Publishes; an order is in the audit log before it is on the wire, once, however often this process sends it."""

    def __init__(self, publish: Callable[[Topic, bytes], None], log: AuditLog, by: str) -> None:
        """Join them.

        Args:
            publish: hands a message to the broker.
            log: where orders are written down.
            by: who this process is: its identity, or the user that runs it.
        """
        self._publish = publish
        self._log = log
        self._by = by
        self._written: dict[Topic, bytes] = {}

    def __call__(self, topic: Topic, payload: bytes) -> None:
        """Publish.

        Raises:
            AuditError: the order cannot be written down; it is not sent.
            LinkError: as the publisher it wraps.
        """
        if topic.channel in _ORDERS and self._written.get(topic) != payload:
            what, order_id, detail = describe_order(topic.channel, payload)
            self._log.append(by=self._by, what=what, device=topic.device, order_id=order_id, detail=detail)
            self._written[topic] = payload
        self._publish(topic, payload)


def describe_order(channel: Channel, payload: bytes) -> tuple[str, str, str]:
    """Return what an order is, its id, and what it says, for people."""
    if not payload:
        return channel.value, "", "taken back: nothing is ordered any more"
    try:
        _, body = parse(channel, payload)
    except WireError as error:
        return channel.value, "", f"not readable: {error}"
    match body:
        case Desired():
            return channel.value, body.order_id, f"{body.bundle} for {body.by}: {body.reason}"
        case Command():
            kind, *fields = msgspec.to_builtins(body.order)
            return f"{channel.value}.{kind}", body.command_id, f"for {body.by}: {fields}"
    return channel.value, "", ""


def read_log(path: Path) -> Iterator[Entry]:
    """Yield the lines of a log as they are, unchecked but for their form; none where there is no file.

    Raises:
        AuditError: a line is none that this program writes.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), start=1):
                if not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES:
                    return  # cut short by a crash, or being written
                yield _decode(line, path, number)
    except FileNotFoundError:
        return
    except OSError as error:
        raise AuditError(f"{path} cannot be read: {error.strerror}") from error


def verify_log(path: Path, head: str | None = None) -> Entry | None:
    """Return the last line of a log in which each line is as it was written; None for an empty one.

    Args:
        path: the log.
        head: a hash that was noted earlier: the line that has it must still be there. Without it, lines that were
            taken away at the end are not missed.

    Raises:
        AuditError: a line was changed, removed or inserted; names the first one.
    """
    last: Entry | None = None
    seen = head in {None, START}
    for entry in read_log(path):
        number = last.number + 1 if last else 1
        if entry.number != number or entry.previous != (last.hash if last else START):
            raise AuditError(f"{path}, line {number}: does not follow the line before: removed, inserted or moved")
        if entry.hash != hash_of(entry):
            raise AuditError(f"{path}, line {number}: was changed after it was written")
        seen = seen or entry.hash == head
        last = entry
    if not seen:
        raise AuditError(f"{path}: no line has the hash {head}: lines were taken away, or the log was made anew")
    return last


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Entry)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open a log for one writer at a time; a new one is there durably before anything is written to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if is_new:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        yield descriptor
    finally:
        os.close(descriptor)


def _end_of(descriptor: int, path: Path) -> tuple[int, str]:
    """Return number and hash of the last line, and take away what a crash left after it."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - 2 * _MAX_LINE_BYTES)
    tail = os.pread(descriptor, size - begin, begin)
    whole = tail.rfind(b"\n") + 1
    if whole < len(tail):
        os.ftruncate(descriptor, begin + whole)
    lines = tail[:whole].splitlines(keepends=True)
    if not lines:
        if begin:
            raise AuditError(f"{path}: its end is no line of an audit log; move the file away to begin a new one")
        return 0, START
    last = _decode(lines[-1], path, 0)
    if last.hash != hash_of(last):
        raise AuditError(f"{path}: its last line was changed; move the file away to begin a new one, and look into it")
    return last.number, last.hash


def _decode(line: bytes, path: Path, number: int) -> Entry:
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        where = f"line {number}" if number else "last line"
        raise AuditError(f"{path}, {where}: was changed, or is no line of an audit log: {error}") from error


def _write_all(descriptor: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])
