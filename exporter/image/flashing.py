"""Writes an image to a disk so that a disk which was not written to its end does not look as if it were.

The first bytes, with the table of partitions, go last: until all else was read back and found right, a note of ours
stands there, from which no computer starts. It says how far the disk is written, so that the same image goes on there.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Literal

import msgspec
from msgspec import Struct

from exporter.image.block_map import BlockMap, BlockRange
from exporter.image.errors import FlashError, ImageError
from exporter.image.image_file import ImageFile, open_image, verify_boot_sector
from exporter.image.target import Target, read_all, sync_all, write_all

PIECE_BYTES: Final = 4 << 20
# The note stands in the place of the boot sector and the table of partitions, and of a GPT's header behind them.
HEAD_BYTES: Final = 1 << 20
# So much may be in the kernel's cache: progress is the disk's, and a note is never far behind.
SYNC_BYTES: Final = 64 << 20
_NOTE_BYTES: Final = 512
_ZEROS: Final = bytes(PIECE_BYTES)

Phase = Literal["write", "verify"]
OnProgress = Callable[[Phase, int, int | None], None]


class Flashed(Struct, frozen=True):
    """What was done.

    Attributes:
        image_bytes: size of the raw image.
        sha256: of the raw image.
        written_bytes: how much was written.
        zero_bytes: how much of the disk already held the zeros of the image.
        unmapped_bytes: how much the block map says that nothing reads.
        resumed_bytes: how much an earlier try had written.
    """

    image_bytes: int
    sha256: str
    written_bytes: int
    zero_bytes: int
    unmapped_bytes: int
    resumed_bytes: int


class _Note(Struct, frozen=True):
    """Stands at the start of a disk that is not written to its end."""

    fieldloop: str
    image: str
    written_through: int


class _Piece(Struct, frozen=True):
    """A stretch of the disk, and the SHA-256 that reading it back must give."""

    start: int
    end: int
    digest: bytes


def flash(
    image: ImageFile,
    target: Target,
    *,
    blocks: BlockMap | None = None,
    on_progress: OnProgress = lambda _phase, _done, _total: None,
) -> Flashed:
    """Write an image, read it back, and only then make the disk one to start from.

    Args:
        image: what to write.
        target: the disk, large enough.
        blocks: what of the image must be written; without, every byte.
        on_progress: told of bytes of the image, and of all there are if that is known.

    Raises:
        ImageError: the image is damaged, or not the one of the block map.
        FlashError: the disk failed, or holds other bytes than were written. It does not start now.
    """
    writing = _Writing(image, target, blocks, on_progress)
    # 1. From here on the disk starts nothing, whatever it held.
    writing.begin()
    # 2. Everything but the head, and the note of how far it got.
    writing.write()
    # 3. What the medium holds, not what the kernel remembers of it.
    writing.verify()
    # 4. Only now the head.
    return writing.finish()


class _Writing:
    """One flash on its way; its methods are the steps, in their order."""

    def __init__(self, image: ImageFile, target: Target, blocks: BlockMap | None, on_progress: OnProgress) -> None:
        self._image = image
        self._target = target
        self._blocks = blocks
        self._on_progress = on_progress
        self._total = image.size_bytes if blocks is None else blocks.image_bytes
        self._pieces: list[_Piece] = []
        self._sha256 = hashlib.sha256()
        self._image_bytes = self._written = self._zero = self._unmapped = self._resumed = 0
        self._head = b""
        self._name = ""

    def begin(self) -> None:
        with open_image(self._image) as raw:
            self._head = _read_full(raw, HEAD_BYTES)
        verify_boot_sector(self._head[:_NOTE_BYTES], self._image.path)
        status = self._image.path.stat()
        told = f"{status.st_size} {status.st_mtime_ns} {self._blocks is not None} ".encode()
        self._name = hashlib.sha256(told + self._head).hexdigest()
        self._resumed = self._written_before()
        if self._resumed == 0:
            write_all(self._target, bytes(len(self._head)), 0)
            self._leave_note(0)

    def write(self) -> None:
        unsynced = 0
        expected = _Expected(self._blocks)
        with open_image(self._image) as raw:
            for start, piece in _pieces_of(raw):
                self._sha256.update(piece)
                self._image_bytes = start + len(piece)
                for begin, part in expected.mapped(start, piece):
                    unsynced += self._put(begin, part)
                self._on_progress("write", self._image_bytes, self._total)
                if unsynced >= SYNC_BYTES:
                    self._leave_note(self._image_bytes)
                    unsynced = 0
        expected.verify_all_seen(self._image, self._image_bytes)
        self._unmapped = self._image_bytes - expected.seen_bytes
        self._leave_note(self._image_bytes)

    def verify(self) -> None:
        done, total = 0, sum(piece.end - piece.start for piece in self._pieces)
        for piece in self._pieces:
            found = read_all(self._target, piece.end - piece.start, piece.start)
            if hashlib.sha256(found).digest() != piece.digest:
                # What an earlier try wrote may be of another image after all: the next one begins anew.
                self._leave_note(0)
                raise FlashError(
                    f"the disk does not hold what was written at byte {piece.start:,}: flash it once more; "
                    "if that ends here again, the card is worn out or its size is a lie, take another",
                    offset=piece.start,
                )
            done += piece.end - piece.start
            self._on_progress("verify", done, total)

    def finish(self) -> Flashed:
        # The sector with the table of partitions last of all: a cut in between leaves the note, or a whole head.
        for start, end in ((_NOTE_BYTES, len(self._head)), (0, _NOTE_BYTES)):
            write_all(self._target, self._head[start:end], start)
            sync_all(self._target, start)
        if read_all(self._target, len(self._head), 0) != self._head:
            raise FlashError("the disk does not hold its first bytes as written: take another card", offset=0)
        return Flashed(
            image_bytes=self._image_bytes,
            sha256=self._sha256.hexdigest(),
            written_bytes=self._written + len(self._head),
            zero_bytes=self._zero,
            unmapped_bytes=self._unmapped,
            resumed_bytes=self._resumed,
        )

    def _put(self, start: int, part: memoryview) -> int:
        """Bring a part to the disk, its head excepted; return how many bytes the kernel now has to write."""
        if start < len(self._head):
            part = part[len(self._head) - start :]
            start = len(self._head)
        if not part:
            return 0
        end = start + len(part)
        self._pieces.append(_Piece(start, end, hashlib.sha256(part).digest()))
        if end <= self._resumed:
            return 0
        # Reading is faster than writing, and a new card holds zeros.
        if part == _ZEROS[: len(part)] and read_all(self._target, len(part), start) == part:
            self._zero += len(part)
            return 0
        write_all(self._target, part, start)
        self._written += len(part)
        return len(part)

    def _written_before(self) -> int:
        try:
            note = msgspec.json.decode(read_all(self._target, _NOTE_BYTES, 0).rstrip(b"\0"), type=_Note)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return 0
        return note.written_through if note.image == self._name else 0

    def _leave_note(self, written_through: int) -> None:
        sync_all(self._target, written_through)
        note = _Note("this disk is not written to its end: flash it again", self._name, written_through)
        write_all(self._target, msgspec.json.encode(note).ljust(_NOTE_BYTES, b"\0"), 0)
        sync_all(self._target, 0)


class _Expected:
    """Follows an image along its block map, and checks the ranges' sums."""

    def __init__(self, blocks: BlockMap | None) -> None:
        self._blocks = blocks
        self._ranges: list[BlockRange] = [] if blocks is None else list(reversed(blocks.ranges))
        self._sha256 = hashlib.sha256()
        self.seen_bytes = 0

    def mapped(self, start: int, piece: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yield the parts of a piece that must be written, with their places."""
        if self._blocks is None:
            self.seen_bytes += len(piece)
            yield start, piece
            return
        end = start + len(piece)
        while self._ranges and self._ranges[-1].start < end:
            current = self._ranges[-1]
            begin, stop = max(start, current.start), min(end, current.end)
            part = piece[begin - start : stop - start]
            self._sha256.update(part)
            self.seen_bytes += len(part)
            yield begin, part
            if stop < current.end:
                return
            if self._sha256.hexdigest() != current.sha256:
                raise ImageError(
                    f"the image is not the one of its block map: bytes {current.start:,} to {current.end:,} differ"
                )
            self._sha256 = hashlib.sha256()
            self._ranges.pop()

    def verify_all_seen(self, image: ImageFile, image_bytes: int) -> None:
        if self._blocks is not None and (self._ranges or image_bytes != self._blocks.image_bytes):
            told = self._blocks.image_bytes
            raise ImageError(f"{image.path} has {image_bytes:,} bytes, its block map was made for {told:,}")
        if image.size_bytes not in {None, image_bytes}:
            raise ImageError(f"{image.path} ended after {image_bytes:,} of {image.size_bytes:,} bytes")


def _pieces_of(raw: BinaryIO) -> Iterator[tuple[int, memoryview]]:
    start = 0
    while piece := _read_full(raw, PIECE_BYTES):
        yield start, memoryview(piece)
        start += len(piece)


def _read_full(raw: BinaryIO, size: int) -> bytes:
    """Read so much if it is there: decompressors give what they have."""
    parts: list[bytes] = []
    while size > 0 and (part := raw.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
