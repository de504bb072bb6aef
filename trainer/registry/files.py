"""The files of a version: artefacts of its run, named with their hashes, fetched where they are not on this machine.

An index, ``files.json``, stands beside them. What is fetched is kept by its hash, so that versions that share a file
share its copy; a file whose content is not what the index says is never given out.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from msgspec import Struct

from edge_agent.durable import replace_file
from trainer.errors import RegistryError
from trainer.project.stores import hidden

INDEX_NAME: Final = "files.json"
CACHE_NAME: Final = "fetched"


class StoredFile(Struct, frozen=True):
    """One file of a version: its path from the run's folder, and what must be in it."""

    path: str
    size_bytes: int
    sha256: str


class _Index(Struct, frozen=True):
    files: tuple[StoredFile, ...]


class ModelFiles:
    """The files of one version, wherever they lie."""

    def __init__(self, client: MlflowClient, run_id: str, local: Path, cache: Path) -> None:
        """Name the places.

        Args:
            client: of the store that keeps them.
            run_id: of the run whose artefacts they are.
            local: the run's folder on the machine that trained; elsewhere it need not be there.
            cache: folder for what is fetched.
        """
        self._client = client
        self._run_id = run_id
        self._cache = cache
        self._index: dict[str, StoredFile] | None = None
        self.local = local

    def listed(self) -> tuple[StoredFile, ...]:
        """Return what the store keeps, in the order of the paths; nothing for a version that was made without files.

        Raises:
            RegistryError: the store cannot be read.
        """
        if self._index is None:
            self._index = {file.path: file for file in read_index(self._client, self._run_id)}
        return tuple(self._index[path] for path in sorted(self._index))

    def file(self, path: str) -> Path:
        """Return a file of the run, ``train/model.skops``; fetch it if it is not here.

        Raises:
            RegistryError: there is none, it cannot be fetched, or it is not what it was.
        """
        if (self.local / path).is_file():
            return self.local / path
        found = next((file for file in self.listed() if file.path == path), None)
        if found is None:
            raise RegistryError(
                f"{path} of run {self._run_id} is neither in {self.local} nor in the metadata store: it was made by an "
                "older Fieldloop on another machine; fetch it there, or train again"
            )
        return self._fetched(found)

    def folder(self, place: str) -> Path:
        """Return a folder of the run, ``export/bundle``, whole; fetch it if it is not here.

        Where the run has no such folder the one that is returned does not exist.

        Raises:
            RegistryError: a file cannot be fetched, or is not what it was.
        """
        if (self.local / place).is_dir():
            return self.local / place
        inside = [file for file in self.listed() if file.path.startswith(f"{place}/")]
        if not inside:
            return self.local / place
        # Of all its files' hashes, so that a folder that is half made is never taken for a whole one.
        digest = hashlib.sha256("".join(f"{file.path} {file.sha256}\n" for file in inside).encode()).hexdigest()
        whole = self._cache / "folders" / digest / PurePosixPath(place).name
        if not whole.is_dir():
            whole.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=whole.parent) as scratch:
                made = Path(scratch) / "made"
                for file in inside:
                    copy = made / PurePosixPath(file.path).relative_to(place)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    _link(self._fetched(file), copy)
                try:
                    made.rename(whole)
                except OSError:
                    # Another process was quicker.
                    if not whole.is_dir():
                        raise
        return whole

    def _fetched(self, file: StoredFile) -> Path:
        name = PurePosixPath(file.path).name
        kept = self._cache / "sha256" / file.sha256 / name
        if kept.is_file() and sha256_of(kept) == file.sha256:
            return kept
        with tempfile.TemporaryDirectory() as scratch:
            try:
                got = Path(self._client.download_artifacts(self._run_id, file.path, scratch))
            except (MlflowException, OSError) as error:
                raise RegistryError(
                    f"{file.path} of run {self._run_id} cannot be fetched: {hidden(str(error))}; artefacts must lie "
                    "where this machine reaches them: an MLflow server's, or the folder of the key 'stores.artefacts'"
                ) from error
            if not got.is_file() or sha256_of(got) != file.sha256:
                raise RegistryError(f"{file.path} of run {self._run_id} is not what was stored: its hash differs")
            kept.parent.mkdir(parents=True, exist_ok=True)
            replace_file(kept, got.read_bytes())
        return kept


def store_files(client: MlflowClient, run_id: str, root: Path, paths: Iterable[Path]) -> None:
    """Store files of a run as its artefacts, under their paths from ``root``, and list them in its index.

    Raises:
        RegistryError: the store does not take them.
    """
    new = {}
    for path in paths:
        inside = path.relative_to(root)
        _log(client, run_id, path, inside.parent.as_posix() if inside.parent.parts else None)
        new[inside.as_posix()] = StoredFile(inside.as_posix(), path.stat().st_size, sha256_of(path))
    if not new:
        return
    index = {file.path: file for file in read_index(client, run_id)} | new
    data = msgspec.json.format(msgspec.json.encode(_Index(tuple(index[path] for path in sorted(index)))), indent=1)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / INDEX_NAME).write_bytes(data)
        # Last: what it lists is there.
        _log(client, run_id, Path(scratch) / INDEX_NAME, None)


def read_index(client: MlflowClient, run_id: str) -> tuple[StoredFile, ...]:
    """Return what the index of a run lists; nothing where there is none.

    Raises:
        RegistryError: the store cannot be read.
    """
    try:
        if all(entry.path != INDEX_NAME for entry in client.list_artifacts(run_id)):
            return ()
        with tempfile.TemporaryDirectory() as scratch:
            data = Path(client.download_artifacts(run_id, INDEX_NAME, scratch)).read_bytes()
        return msgspec.json.decode(data, type=_Index).files
    except (MlflowException, OSError, msgspec.MsgspecError) as error:
        raise RegistryError(f"the files of run {run_id} cannot be listed: {hidden(str(error))}") from error


def sha256_of(path: Path) -> str:
    """Return the hash of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _log(client: MlflowClient, run_id: str, path: Path, place: str | None) -> None:
    try:
        client.log_artifact(run_id, str(path), place)
    except (MlflowException, OSError) as error:
        raise RegistryError(f"{path} cannot be stored with run {run_id}: {hidden(str(error))}") from error


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
