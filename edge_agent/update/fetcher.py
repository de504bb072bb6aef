"""Fetches files of bundles from the update repository and believes only what TUF lets it believe.

The client workflow is python-tuf's ngclient (https://theupdateframework.github.io/specification/latest/): signatures by
the trusted root's keys, no metadata older than seen before, none that has expired, every file by its listed length and
hash. Signatures are checked by securesystemslib's own ed25519, so a device needs no cryptography package. Errors of
the road and errors of the goods are kept apart: the first are tried again, the second are refused. What has expired is
not believed either, but time mends it: a signing that is late, a clock that is wrong.

An update file (`edge_agent.update_file`) takes the place of a server for a device that no network reaches. All of this
holds for it, with one difference: a file that is carried cannot be signed anew on its way, so what it holds may have
expired by a stated grace. The expiry is there so that a host that holds newer lists back is noticed; who brings a file
by hand is no such host, and a list older than the newest one seen is refused all the same.

A file may come in a smaller form (``forms``); what is kept is the file itself, by its own listed length and hash, and
whatever is wrong with a form is no more than a reason to fetch the file.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import urllib3
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined] # documented there
from tuf.ngclient.updater import Updater

from broker.messages import BundleRef
from edge_agent.bundle import MANIFEST_NAME, MAX_MANIFEST_BYTES, MAX_VARIANT_BYTES, Variant
from edge_agent.clock import Clock, SystemClock
from edge_agent.durable import make_folder, sync_folder
from edge_agent.errors import AgentError, RepositoryRefusedError, RepositoryStaleError, RepositoryUnreachableError
from edge_agent.update.carried import BASE, Carried, CarriedFetcher
from edge_agent.update.download import download
from edge_agent.update.forms import parse_forms
from edge_agent.update.partial import PARTIAL_FOLDER, keep_only, partial_folder
from edge_agent.update.road import TimedFetcher
from edge_agent.update.zstd_decoder import Decoder, FrameError, find_decoder

logger = logging.getLogger(__name__)

METADATA: Final = "metadata"
TARGETS: Final = "targets"
MIN_BYTES_PER_S: Final = 256.0
# ngclient's own temporary files begin so too: what a killed visit leaves is removed by the next one.
_FORM_NAME: Final = "tmp-form"

_SHA256: Final = re.compile("[0-9a-f]{64}")

# What each kind of distrust means for the device, and for people; the first class that fits counts.
_DISTRUST: Final[tuple[tuple[type[tuf_errors.RepositoryError], type[AgentError], str], ...]] = (
    (
        tuf_errors.ExpiredMetadataError,
        RepositoryUnreachableError,
        "metadata has expired: the repository must be signed anew, or this device's clock is wrong",
    ),
    (
        tuf_errors.BadVersionNumberError,
        RepositoryStaleError,
        "metadata is older than what this device has seen already: a restored copy, or somebody in between",
    ),
    (
        tuf_errors.UnsignedMetadataError,
        RepositoryRefusedError,
        "metadata is not signed by the keys that this device trusts",
    ),
    (
        tuf_errors.LengthOrHashMismatchError,
        RepositoryRefusedError,
        "a file is not the one that is listed: it was altered or broken",
    ),
    (tuf_errors.RepositoryError, RepositoryRefusedError, "metadata cannot be trusted"),
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came over the road for a file.

    Attributes:
        form: ``whole``, ``compressed`` or ``delta``.
    """

    form: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Form:
    kind: str
    target: TargetFile
    base: bytes | None = None


class BundleFetcher:
    """One visit to the update repository; used once, by one thread."""

    def __init__(
        self,
        url: str,
        root: bytes,
        metadata_folder: Path,
        timeout_s: float,
        *,
        bases: Sequence[Path] = (),
        min_bytes_per_s: float = MIN_BYTES_PER_S,
        clock: Clock | None = None,
        carried: Carried | None = None,
    ) -> None:
        """Describe the visit.

        Args:
            url: base URL of the repository.
            root: the root metadata that this device trusts.
            metadata_folder: where the newest metadata seen is kept: what protects against older metadata.
            timeout_s: longest silence of the server.
            bases: folders with files that this device has, from which a delta may start.
            min_bytes_per_s: least average rate of an answer that takes longer than `timeout_s`.
            clock: measures that; None: this machine's.
            carried: stands in for the server; `url` is not used then.

        Raises:
            RepositoryRefusedError: the trusted root itself cannot be used.
        """
        make_folder(metadata_folder)
        self._metadata_folder = metadata_folder
        self._bases = tuple(bases)
        _remove_leftovers(metadata_folder)
        self._is_carried = carried is not None
        base = url.rstrip("/") if carried is None else BASE
        self._targets_url = f"{base}/{TARGETS}"
        self._road = (
            TimedFetcher(clock or SystemClock(), timeout_s, min_bytes_per_s)
            if carried is None
            else CarriedFetcher(carried.file)
        )
        with _translated("the trusted root"):
            self._updater = Updater(
                str(metadata_folder),
                f"{base}/{METADATA}/",
                fetcher=self._road,
                bootstrap=root,
            )
        if carried is not None:
            # The one rule that is relaxed, and by so much only: clause 5.1's fixed start time, set back. ngclient has
            # no option for it; a test fails should it ever be ignored.
            self._updater._trusted_set.reference_time -= timedelta(seconds=carried.grace_s)  # noqa: SLF001

    def refresh(self) -> None:
        """Bring the metadata up to date, durably: a cut must not take the protection against older metadata away.

        Raises:
            RepositoryUnreachableError: the road is bad, or what came over it has expired.
            RepositoryStaleError: the metadata is older than what this device has seen.
            RepositoryRefusedError: the metadata is not to be trusted.
            OSError: the disk is full or broken.
        """
        try:
            with _translated("the update repository"):
                self._updater.refresh()
        finally:
            # After a failure as well: some of it may have taken the place of files that were durable.
            _sync_tree(self._metadata_folder)

    def fetch_manifest(self, bundle: BundleRef, into: Path) -> bytes:
        """Fetch a bundle's manifest to the file ``into``, and return it; raise as `refresh` does.

        Raises:
            RepositoryStaleError: it is not listed (yet, or any more).
            RepositoryRefusedError: it is too large, or not the listed one.
        """
        keep_only(self._metadata_folder, bundle)
        target = self._listed(bundle, MANIFEST_NAME)
        if target.length > MAX_MANIFEST_BYTES:
            raise RepositoryRefusedError(
                f"{target.path}: {target.length} bytes are listed, at most {MAX_MANIFEST_BYTES} are taken"
            )
        self._obtain(bundle, target, into)
        return into.read_bytes()

    def fetch_variant(self, bundle: BundleRef, variant: Variant, into: Path) -> Fetched:
        """Fetch one variant of a bundle to the file ``into``; raise as `fetch_manifest` does.

        Who opens it compares it with its manifest once more (`edge_agent.scoring.loading.open_runtime`).

        Raises:
            RepositoryRefusedError: what is listed is not what the manifest describes.
        """
        target = self._listed(bundle, variant.file)
        listed = target.hashes.get("sha256")
        if target.length != variant.size_bytes or listed not in {None, variant.sha256}:
            raise RepositoryRefusedError(f"{target.path}: the listed file is not the one that the manifest describes")
        return self._obtain(bundle, target, into)

    def _listed(self, bundle: BundleRef, file: str) -> TargetFile:
        path = f"{bundle}/{file}"
        with _translated(path):
            target = self._updater.get_targetinfo(path)
        if target is None:
            raise RepositoryStaleError(f"{path}: not listed by the update repository (any more)")
        return target

    def _obtain(self, bundle: BundleRef, target: TargetFile, into: Path) -> Fetched:
        """Put a listed file at ``into``, by the smallest form that works here."""
        # A file that is carried holds each file itself.
        decoder = None if self._is_carried else find_decoder()
        if decoder is not None:
            for form in self._forms_of(bundle, target):
                try:
                    self._rebuild(bundle, form, decoder, target, into)
                except (AgentError, FrameError) as error:
                    logger.warning("%s: %s; the next form is tried", form.target.path, error)
                else:
                    return Fetched(form.kind, form.target.length)
        self._download(bundle, target, into)
        return Fetched("whole", target.length)

    def _forms_of(self, bundle: BundleRef, target: TargetFile) -> Iterator[_Form]:
        """Yield the forms of a file that this device can use, best first, each smaller than the file."""
        forms = parse_forms(target.custom)
        for base in self._read_bases() if forms.deltas else ():
            name = forms.deltas.get(hashlib.sha256(base).hexdigest())
            if name is not None:
                yield from self._form("delta", f"{bundle}/{name}", target, base)
                break
        if forms.compressed is not None:
            yield from self._form("compressed", f"{bundle}/{forms.compressed}", target)

    def _form(self, kind: str, path: str, target: TargetFile, base: bytes | None = None) -> Iterator[_Form]:
        try:
            with _translated(path):
                form = self._updater.get_targetinfo(path)
        except AgentError as error:
            logger.warning("%s: %s; the next form is tried", path, error)
            return
        if form is not None and form.length < target.length <= MAX_VARIANT_BYTES:
            yield _Form(kind, form, base)

    def _read_bases(self) -> Iterator[bytes]:
        for folder in self._bases:
            for path in sorted(folder.glob("*")):
                try:
                    if path.is_file() and path.stat().st_size <= MAX_VARIANT_BYTES:
                        yield path.read_bytes()
                except OSError as error:
                    logger.warning("%s: cannot be read, no delta can start from it: %s", path, error)

    def _rebuild(self, bundle: BundleRef, form: _Form, decoder: Decoder, target: TargetFile, into: Path) -> None:
        path = self._metadata_folder / _FORM_NAME
        try:
            self._download(bundle, form.target, path)
            content = decoder(path.read_bytes(), target.length, form.base)
        finally:
            path.unlink(missing_ok=True)
        with _translated(target.path):
            target.verify_length_and_hashes(content)
        into.write_bytes(content)

    def _download(self, bundle: BundleRef, target: TargetFile, into: Path) -> None:
        # Consistent snapshots (clause 6.2 of the specification): a file's name begins with its hash.
        place, _, name = target.path.rpartition("/")
        digest = target.hashes.get("sha256", "")
        if _SHA256.fullmatch(digest) is None:
            raise RepositoryRefusedError(f"{target.path}: no SHA-256 is listed; sign it anew with fieldloop publish")
        url = f"{self._targets_url}/{place}/{digest}.{name}"
        with _translated(target.path):
            download(self._road, url, target, partial_folder(self._metadata_folder, bundle), into)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except tuf_errors.DownloadLengthMismatchError as error:
        raise RepositoryRefusedError(f"{what}: longer than what is listed: {error}") from error
    except (tuf_errors.DownloadError, urllib3.exceptions.HTTPError) as error:
        cause = "" if error.__cause__ is None else f" ({error.__cause__})"
        raise RepositoryUnreachableError(f"{what}: {str(error) or type(error).__name__}{cause}") from error
    except tuf_errors.RepositoryError as error:
        ours, reason = next((ours, text) for kind, ours, text in _DISTRUST if isinstance(error, kind))
        raise ours(f"{what}: {reason} ({error})") from error


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed predecessor left (ngclient names them tmp…)."""
    for path in folder.glob("tmp*"):
        path.unlink(missing_ok=True)


def _sync_tree(folder: Path) -> None:
    """Make durable what ngclient, which does not sync, has written or renamed below a folder."""
    for parent, folders, names in os.walk(folder):
        if PARTIAL_FOLDER in folders:
            folders.remove(PARTIAL_FOLDER)
        for path in (Path(parent, name) for name in names):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        sync_folder(Path(parent))
