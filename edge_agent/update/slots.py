"""Three folders for bundles, and the one file that says which of them plays which part.

A switch of bundles is a new record in that file, so it is one atomic rename, and a cut at any byte leaves the old
record or the new one. Should the file itself be lost, the slots are asked what was committed in them: a candidate that
proved nothing yet is never preferred to a bundle that did.
"""

import contextlib
import errno
import logging
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.bundle import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, Variant, parse_manifest
from edge_agent.digest import sha256_of
from edge_agent.durable import make_folder, replace_file, sync_folder
from edge_agent.errors import AgentError, AlteredError, StorageError
from edge_agent.scoring.loading import reading_error, verify_file
from edge_agent.update.record import SLOTS, Content, Record, Roles, SlotName, Slots

logger = logging.getLogger(__name__)

RECORD_NAME: Final = "update.json"
CORRUPT_NAME: Final = "update.json.corrupt"
COMMITTED_NAME: Final = "committed.json"
# Lies in a slot while its bundle runs for the first time: found at a start, that may be what ended the one before.
PROVING_NAME: Final = "proving"
SLOTS_FOLDER: Final = "slots"

# The process or the machine has no more to give; the file itself may be as good as ever.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_RECORD = msgspec.json.Decoder(Record)


class _Committed(Struct, frozen=True):
    """Lies beside a committed bundle: what was committed here, as which commit of this device."""

    content: Content
    number: int


_COMMITTED = msgspec.json.Decoder(_Committed)


class Loaded(Struct, frozen=True):
    """A record, and what had to be done to get it.

    Attributes:
        recovery: in words; None: nothing.
        is_read: it stands like this on the disk.
    """

    record: Record
    recovery: str | None = None
    is_read: bool = False


class Bundle(Struct, frozen=True):
    """A bundle in a slot whose files are what its manifest says."""

    folder: Path
    manifest: Manifest
    variant: Variant


class SlotStore:
    """The slots of one device, used by one thread."""

    def __init__(self, state: Path) -> None:
        """Make the folders below ``state``, if they are missing."""
        self._state = state
        for slot in SLOTS:
            self.folder(slot).mkdir(parents=True, exist_ok=True)

    def folder(self, slot: SlotName) -> Path:
        """Return the folder of a slot."""
        return self._state / SLOTS_FOLDER / slot

    def save(self, record: Record) -> None:
        """Make a record the one that counts: atomic and durable.

        Raises:
            OSError: the old record still counts.
        """
        replace_file(self._state / RECORD_NAME, msgspec.json.encode(record))

    def load(self) -> Loaded:
        """Read the record; where it is lost or unreadable, rebuild it from what was committed in the slots.

        Raises:
            StorageError: this device can open no file now: nothing is known to be lost.
        """
        try:
            return Loaded(_RECORD.decode((self._state / RECORD_NAME).read_bytes()), is_read=True)
        except FileNotFoundError:
            record = self.rebuilt()
            lost = record.roles.active is not None
            return Loaded(record, f"{RECORD_NAME} is missing; {_told(record)}" if lost else None)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno in _EXHAUSTED:
                raise StorageError(f"{self._state / RECORD_NAME}: cannot be read now: {error.strerror}") from error
            record = self.rebuilt()
            with contextlib.suppress(OSError):
                # Kept for people; the next save would overwrite it.
                (self._state / RECORD_NAME).replace(self._state / CORRUPT_NAME)
            return Loaded(record, f"{RECORD_NAME} cannot be used ({error}); {_told(record)}")

    def mark_committed(self, slot: SlotName, content: Content, number: int) -> None:
        """Leave word in a slot that its bundle was committed, unless it says so already."""
        if self._committed_in(slot) != _Committed(content, number):
            replace_file(self.folder(slot) / COMMITTED_NAME, msgspec.json.encode(_Committed(content, number)))

    def load_bundle(self, slot: SlotName, content: Content) -> Bundle:
        """Read what lies in a slot; as `load_from`."""
        return self.load_from(self.folder(slot), content)

    @staticmethod
    def load_from(folder: Path, content: Content) -> Bundle:
        """Read what lies in a slot's folder and compare it with what was proved when it was put there.

        Raises:
            AlteredError: a file is missing or altered.
            StorageError: a file cannot be read now.
            BundleError: it is what was put there, and this version of the agent does not take its manifest.
        """
        path = folder / MANIFEST_NAME
        try:
            with path.open("rb") as file:
                data = file.read(MAX_MANIFEST_BYTES + 1)
        except OSError as error:
            raise reading_error(path, error) from error
        if sha256_of(data) != content.manifest_sha256:
            raise AlteredError(f"{path}: not the manifest of {content.bundle} that was put there")
        # Byte for byte what was proved here once: no reader can take it for something else by now.
        manifest = parse_manifest(data, is_proved=True)
        variant = next((v for v in manifest.variants if v.name == content.variant), None)
        if manifest.ref != content.bundle or variant is None:
            raise AlteredError(f"{path}: is of {manifest.ref}, expected {content.bundle} with {content.variant}")
        verify_file(variant, path.parent / variant.file)
        return Bundle(path.parent, manifest, variant)

    def rebuilt(self, passing_over: AbstractSet[SlotName] = frozenset()) -> Record:
        """Return a record made from the slots alone: the newest sound commit is active, the one before it previous.

        Args:
            passing_over: slots that are not to be looked at.
        """
        sound: list[tuple[int, SlotName, Content]] = []
        for slot in SLOTS:
            committed = None if slot in passing_over else self._committed_in(slot)
            if committed is None:
                continue
            try:
                self.load_bundle(slot, committed.content)
            except AgentError as error:
                logger.warning("slot %s is passed over: %s", slot, error)
                continue
            sound.append((committed.number, slot, committed.content))
        sound.sort(key=lambda found: found[0], reverse=True)
        kept = sound[:2]
        slots = msgspec.structs.replace(Slots(), **{slot: content for _, slot, content in kept})
        names = [slot for _, slot, _ in kept]
        roles = Roles(active=names[0] if names else None, previous=names[1] if len(names) > 1 else None)
        return Record(roles=roles, slots=slots, commits=kept[0][0] if kept else 0)

    def _committed_in(self, slot: SlotName) -> _Committed | None:
        try:
            return _COMMITTED.decode((self.folder(slot) / COMMITTED_NAME).read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None


def begin_proving(folder: Path) -> None:
    """Leave word in a slot, durably, that its bundle is about to be run for the first time.

    Raises:
        OSError: the disk is full or broken.
    """
    replace_file(folder / PROVING_NAME, b"")


def end_proving(folder: Path) -> None:
    """Take that word back: whatever became of the bundle, this device is still there.

    Raises:
        OSError: it is still there.
    """
    (folder / PROVING_NAME).unlink(missing_ok=True)


def was_proving(folder: Path) -> bool:
    """Tell whether the word is there."""
    return (folder / PROVING_NAME).exists()


def read_record(state: Path) -> Record | None:
    """Read the record of a state folder without changing anything; None where there is none that can be read."""
    try:
        return _RECORD.decode((state / RECORD_NAME).read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def empty_slot(folder: Path) -> None:
    """Remove what lies in a slot; what says that it was committed goes first, durably.

    Raises:
        OSError: something is left, and does not count as committed.
    """
    # Durably, the folder of all slots too: what is proved in a slot later is lost with it.
    for path in (folder.parent, folder):
        make_folder(path)
    (folder / COMMITTED_NAME).unlink(missing_ok=True)
    sync_folder(folder)
    for path in folder.iterdir():
        path.unlink()
    sync_folder(folder)


def _told(record: Record) -> str:
    if record.active is None:
        return "no slot holds a committed bundle: waiting for an order"
    return f"going on with {record.active.bundle}, the newest bundle committed in a slot; refusals are forgotten"
