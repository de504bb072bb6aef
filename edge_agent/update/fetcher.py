"""Fetches files of bundles from the update repository and believes only what TUF lets it believe.

The client workflow is python-tuf's ngclient (https://theupdateframework.github.io/specification/latest/): signatures by
the trusted root's keys, no metadata older than seen before, none that has expired, every file by its listed length and
hash. Signatures are checked by securesystemslib's own ed25519, so a device needs no cryptography package. Errors of
the road and errors of the goods are kept apart: the first are tried again, the second are refused. What has expired is
not believed either, but time mends it: a signing that is late, a clock that is wrong.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import urllib3
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined] # documented there
from tuf.ngclient.updater import Updater
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from broker.messages import BundleRef
from edge_agent.bundle import MANIFEST_NAME, MAX_MANIFEST_BYTES, Variant
from edge_agent.durable import sync_folder
from edge_agent.errors import AgentError, RepositoryRefusedError, RepositoryStaleError, RepositoryUnreachableError

METADATA: Final = "metadata"
TARGETS: Final = "targets"

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


class BundleFetcher:
    """One visit to the update repository; used once, by one thread."""

    def __init__(self, url: str, root: bytes, metadata_folder: Path, timeout_s: float) -> None:
        """Describe the visit.

        Args:
            url: base URL of the repository.
            root: the root metadata that this device trusts.
            metadata_folder: where the newest metadata seen is kept: what protects against older metadata.
            timeout_s: longest silence of the server.

        Raises:
            RepositoryRefusedError: the trusted root itself cannot be used.
        """
        metadata_folder.mkdir(parents=True, exist_ok=True)
        self._metadata_folder = metadata_folder
        _remove_leftovers(metadata_folder)
        base = url.rstrip("/")
        with _translated("the trusted root"):
            self._updater = Updater(
                str(metadata_folder),
                f"{base}/{METADATA}/",
                target_base_url=f"{base}/{TARGETS}/",
                fetcher=Urllib3Fetcher(max(1, round(timeout_s)), app_user_agent="fieldloop-agent"),
                bootstrap=root,
            )

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
        target = self._listed(bundle, MANIFEST_NAME)
        if target.length > MAX_MANIFEST_BYTES:
            raise RepositoryRefusedError(
                f"{target.path}: {target.length} bytes are listed, at most {MAX_MANIFEST_BYTES} are taken"
            )
        self._download(target, into)
        return into.read_bytes()

    def fetch_variant(self, bundle: BundleRef, variant: Variant, into: Path) -> None:
        """Fetch one variant of a bundle to the file ``into``; raise as `fetch_manifest` does.

        Who opens it compares it with its manifest once more (`edge_agent.scoring.loading.open_runtime`).

        Raises:
            RepositoryRefusedError: what is listed is not what the manifest describes.
        """
        target = self._listed(bundle, variant.file)
        listed = target.hashes.get("sha256")
        if target.length != variant.size_bytes or listed not in {None, variant.sha256}:
            raise RepositoryRefusedError(f"{target.path}: the listed file is not the one that the manifest describes")
        self._download(target, into)

    def _listed(self, bundle: BundleRef, file: str) -> TargetFile:
        path = f"{bundle}/{file}"
        with _translated(path):
            target = self._updater.get_targetinfo(path)
        if target is None:
            raise RepositoryStaleError(f"{path}: not listed by the update repository (any more)")
        return target

    def _download(self, target: TargetFile, into: Path) -> None:
        with _translated(target.path):
            self._updater.download_target(target, str(into))


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except tuf_errors.DownloadLengthMismatchError as error:
        raise RepositoryRefusedError(f"{what}: longer than what is listed: {error}") from error
    except (tuf_errors.DownloadError, urllib3.exceptions.HTTPError) as error:
        cause = error.__cause__ or error
        raise RepositoryUnreachableError(f"{what}: {str(error) or type(error).__name__} ({cause})") from error
    except tuf_errors.RepositoryError as error:
        ours, reason = next((ours, text) for kind, ours, text in _DISTRUST if isinstance(error, kind))
        raise ours(f"{what}: {reason} ({error})") from error


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed predecessor left (ngclient names them tmp…)."""
    for path in folder.glob("tmp*"):
        path.unlink(missing_ok=True)


def _sync_tree(folder: Path) -> None:
    """Make durable what ngclient, which does not sync, has written or renamed below a folder."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        sync_folder(Path(parent))
