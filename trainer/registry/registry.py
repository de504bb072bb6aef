"""The model registry: versions with lineage, and the aliases ``champion`` and ``previous``.

A version is the work of one run; its folder holds the model (skops), its export and its bundle. MLflow's types stay in
this module.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from trainer.errors import RegistryError
from trainer.registry.tracking import open_client

CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
_REFERENCE = re.compile(r"(?P<name>[a-z0-9][a-z0-9_-]*)(?:/(?P<version>[0-9]+)|@(?P<alias>[a-z_]+))?")


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One version.

    Attributes:
        folder: of its run: the files of every step.
        tags: what was recorded with it: metrics, fingerprints, the gate's verdict.
        created_utc_s: UTC seconds since 1970.
    """

    name: str
    version: int
    run_id: str
    folder: Path
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created_utc_s: float

    @property
    def model_file(self) -> Path:
        """The fitted estimator, as skops."""
        return self.folder / "train" / "model.skops"

    @property
    def bundle(self) -> Path:
        """The folder of its bundle."""
        return self.folder / "export" / "bundle"


class Registry:
    """The versions of all models in one store."""

    def __init__(self, state: Path, client: MlflowClient | None = None) -> None:
        """Open the registry of a state folder."""
        self._client = client or open_client(state)

    def register(self, name: str, *, run_id: str, folder: Path, tags: Mapping[str, str]) -> int:
        """Register a candidate, and return its version; the same run again is the same version."""
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise RegistryError(f"model {name!r} cannot be registered: {error.message}") from error
        for version in self._versions(name):
            if version.run_id == run_id:
                return int(version.version)
        made = self._client.create_model_version(name, folder.resolve().as_uri(), run_id=run_id, tags=dict(tags))
        return int(made.version)

    def tag(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Record more of a version."""
        for key, value in tags.items():
            self._client.set_model_version_tag(name, str(version), key, value)

    def attach(self, name: str, version: int, files: Sequence[Path], place: str) -> None:
        """Store files with a version: as artefacts of its run, in the folder ``place``.

        Raises:
            RegistryError: the store did not take them, or there is no such version.
        """
        run_id = self.load(name, version=version).run_id
        try:
            for file in files:
                self._client.log_artifact(run_id, str(file), place)
        except (MlflowException, OSError) as error:
            raise RegistryError(f"{name}/{version}: {place} cannot be stored with it: {error}") from error

    def promote(self, name: str, version: int) -> None:
        """Make a version the champion; the champion until now becomes ``previous``."""
        self.load(name, version=version)
        champion = self.find(name, alias=CHAMPION)
        if champion is not None and champion.version == version:
            return
        # The order is the safety: at no moment is there no champion.
        if champion is not None:
            self._client.set_registered_model_alias(name, PREVIOUS, str(champion.version))
        self._client.set_registered_model_alias(name, CHAMPION, str(version))

    def rollback(self, name: str) -> RegisteredModel:
        """Make the previous champion the champion again, and return it.

        Raises:
            RegistryError: there is no previous version.
        """
        previous = self.find(name, alias=PREVIOUS)
        if previous is None:
            raise RegistryError(f"model {name!r} has no previous version to go back to")
        champion = self.find(name, alias=CHAMPION)
        # The order is the safety: cut off between the two, this has done what it was asked for.
        self._client.set_registered_model_alias(name, CHAMPION, str(previous.version))
        if champion is not None:
            self._client.set_registered_model_alias(name, PREVIOUS, str(champion.version))
        return self.load(name, alias=CHAMPION)

    def names(self) -> tuple[str, ...]:
        """Return the names of all models."""
        return tuple(sorted(model.name for model in self._client.search_registered_models()))

    def versions(self, name: str) -> tuple[RegisteredModel, ...]:
        """Return all versions of a model, the first one first; none for an unknown name."""
        found = (self._model(version) for version in self._versions(name))
        return tuple(sorted(found, key=lambda model: model.version))

    def find(self, name: str, *, alias: str) -> RegisteredModel | None:
        """Return the version of an alias, or None."""
        for model in self.versions(name):
            if alias in model.aliases:
                return model
        return None

    def load(self, name: str, *, version: int | None = None, alias: str = CHAMPION) -> RegisteredModel:
        """Return a version by number, or by alias.

        Raises:
            RegistryError: there is none; the message lists what there is.
        """
        models = self.versions(name)
        for model in models:
            if model.version == version if version is not None else alias in model.aliases:
                return model
        wanted = f"{name}/{version}" if version is not None else f"{name}@{alias}"
        known = ", ".join(f"{m.name}/{m.version}" for m in models) or ", ".join(self.names()) or "nothing yet"
        raise RegistryError(f"the registry does not hold {wanted}; it holds: {known}")

    def resolve(self, reference: str, model: str = "") -> RegisteredModel:
        """Return the version of ``name``, ``name/3`` or ``name@alias``.

        Args:
            reference: what a user wrote.
            model: whose versions a number or an alias alone means (``3``, ``champion``); empty: nobody's.

        Raises:
            RegistryError: another form, or there is none.
        """
        if model and (reference in {CHAMPION, PREVIOUS} or reference.isdecimal()):
            reference = f"{model}/{reference}" if reference.isdecimal() else f"{model}@{reference}"
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise RegistryError(f"{reference!r} is no model: write name, name/3 or name@champion")
        version = match["version"]
        return self.load(match["name"], version=int(version) if version else None, alias=match["alias"] or CHAMPION)

    def _versions(self, name: str) -> tuple[ModelVersion, ...]:
        return tuple(self._client.search_model_versions(f"name='{name}'", max_results=10_000))

    def _model(self, version: ModelVersion) -> RegisteredModel:
        # A search does not fill in the aliases.
        full = self._client.get_model_version(version.name, version.version)
        return RegisteredModel(
            name=full.name,
            version=int(full.version),
            run_id=full.run_id or "",
            folder=Path(url2pathname(urlsplit(str(full.source)).path)),
            aliases=tuple(sorted(full.aliases)),
            tags=dict(full.tags),
            created_utc_s=full.creation_timestamp / 1000,
        )
