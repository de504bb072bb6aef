"""The model registry: versions with lineage, and the stages of a model as aliases.

A version is the work of one run; its files, the model (skops), its export and its bundle, are artefacts of that run.
MLflow's types stay in this package.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from edge_agent.clock import Clock, SystemClock
from trainer.errors import GateRefusedError, RegistryError
from trainer.project.project import LoadedProject
from trainer.project.registry import CHAMPION, PREVIOUS, STAGES, RegistrySection
from trainer.project.stores import hidden
from trainer.registry.files import CACHE_NAME, ModelFiles, store_files
from trainer.registry.lock import CLAIMS_SUFFIX, lock_of
from trainer.registry.promotion import RECORD_PREFIX, Promoter, Promotion, promotions_in, refusal_of
from trainer.registry.tracking import open_client, store_address, told

__all__ = ["CHAMPION", "PREVIOUS", "RegisteredModel", "Registry", "open_registry"]

_REFERENCE = re.compile(r"(?P<name>[a-z0-9][a-z0-9_-]*)(?:/(?P<version>[0-9]+)|@(?P<alias>[a-z][a-z0-9_-]*))?")
# Where the model lies among the artefacts of its run: MLflow's page looks for its description there.
MODEL_PLACE: Final = "train"
# A column of its database.
_MOST_TEXT: Final = 4900
_OUR_TAGS: Final = "fieldloop."
_FOLDER_TAG: Final = "fieldloop.folder"


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One version.

    Attributes:
        files: of its run, wherever they lie.
        aliases: of the store: the project's names of the stages.
        tags: what was recorded with it: metrics, fingerprints, the gate's verdict.
        promotions: that it had, the earliest first.
        created_utc_s: UTC seconds since 1970.
    """

    name: str
    version: int
    run_id: str
    files: ModelFiles = field(compare=False, repr=False)
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    promotions: tuple[Promotion, ...]
    created_utc_s: float

    def file(self, path: str) -> Path:
        """Return a file of its run, ``train/model.skops``, here or fetched; raise RegistryError if there is none."""
        return self.files.file(path)

    def folder(self, place: str) -> Path:
        """Return a folder of its run, ``evaluate``, here or fetched; one that the run did not make does not exist."""
        return self.files.folder(place)

    @property
    def model_file(self) -> Path:
        """The fitted estimator, as skops."""
        return self.file(f"{MODEL_PLACE}/model.skops")

    @property
    def bundle(self) -> Path:
        """The folder of its bundle."""
        return self.folder("export/bundle")


def open_registry(loaded: LoadedProject, client: MlflowClient | None = None, clock: Clock | None = None) -> "Registry":
    """Open the registry of a project, at the address and with the names of stages that it has."""
    client = client or open_client(loaded.state, store_address(loaded))
    return Registry(loaded.state, client, section=loaded.project.registry, clock=clock)


class Registry:
    """The versions of all models in one store."""

    def __init__(
        self,
        state: Path,
        client: MlflowClient | None = None,
        *,
        section: RegistrySection | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Open the registry of a state folder, or of a client's store; `open_registry` knows a project's."""
        self._state = state
        self._client = client or open_client(state)
        self.stages = section or RegistrySection()
        clock = clock or SystemClock()
        lock = lock_of(str(self._client.tracking_uri), self._client, clock)
        self._promoter = Promoter(self._client, self.stages, lock, clock)

    def register(self, name: str, *, run_id: str, folder: Path, tags: Mapping[str, str]) -> int:
        """Register a candidate, and return its version; the same run again is the same version.

        Args:
            name: of the model.
            run_id: of the run that made it.
            folder: of the run, on this machine.
            tags: what is recorded with it.
        """
        if name.endswith(CLAIMS_SUFFIX):
            raise RegistryError(f"model {name!r} cannot be registered: names that end so are kept for promotions")
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                message = hidden(str(error.message))
                raise RegistryError(f"model {name!r} cannot be registered: {message}") from error
        for version in self._versions(name):
            if version.run_id == run_id:
                return int(version.version)
        with told("register a version"):
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{MODEL_PLACE}"
            here = {_FOLDER_TAG: folder.resolve().as_uri()}
            made = self._client.create_model_version(name, source, run_id=run_id, tags={**tags, **here})
        return int(made.version)

    def keep(self, run_id: str, root: Path, paths: Iterable[Path]) -> None:
        """Store files of a run in the metadata store, so that other machines can fetch them.

        Args:
            run_id: of the run.
            root: its folder: what is stored has its path from here.
            paths: of the files.

        Raises:
            RegistryError: the store did not take them.
        """
        store_files(self._client, run_id, root, paths)

    def tag(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Record more of a version."""
        with told("tag a version"):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, str(version), key, value)

    def untag(self, name: str, version: int, key: str) -> None:
        """Take away what is recorded of a version."""
        with told("untag a version"):
            self._client.delete_model_version_tag(name, str(version), key)

    def withdraw(self, name: str, version: int, *, stage: str) -> bool:
        """Take a version out of a stage that may be empty; return whether it stood there.

        Raises:
            RegistryError: the store does not answer.
            BusyError: a promotion of this model takes too long.
        """
        with told("withdraw a version"):
            return self._promoter.withdraw(name, version, stage)

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
            message = hidden(str(error))
            raise RegistryError(f"{name}/{version}: {place} cannot be stored with it: {message}") from error

    def describe(self, name: str, version: int, text: str) -> None:
        """Let MLflow's page show a text in Markdown with a version."""
        if len(text) > _MOST_TEXT:
            text = f"{text[:_MOST_TEXT]}…"
        with told("describe a version"):
            self._client.update_model_version(name, str(version), text)

    def promote(
        self, name: str, version: int, *, stage: str = CHAMPION, by: str = "", reason: str = ""
    ) -> Promotion | None:
        """Put a version into a stage; the champion until now becomes ``previous``. None: it stands there already.

        Args:
            name: of the model.
            version: of it.
            stage: where to, in our words.
            by: the person who promotes; empty: a run does.
            reason: for which the gate's refusal is overruled, and which is kept; empty: it is not.

        Raises:
            GateRefusedError: the gate refused the version, or has not judged it, or nobody approved.
            RegistryError: there is no such version.
            BusyError: another promotion of this model takes too long.
        """
        if stage not in STAGES:
            raise RegistryError(f"{stage!r} is no stage; there are: {', '.join(map(self.stages.alias_of, STAGES))}")
        gate = self.load(name, version=version).tags.get("gate", "")
        refusal = refusal_of(gate, by, stage, self.stages, reason)
        if refusal is not None:
            raise GateRefusedError(f"{name}/{version} is not promoted to {self.stages.alias_of(stage)}: {refusal}")
        with told("promote"):
            return self._promoter.promote(name, version, stage=stage, by=by or "pipeline", gate=gate, reason=reason)

    def rollback(self, name: str, *, by: str = "") -> RegisteredModel:
        """Make the previous champion the champion again, and return it.

        Raises:
            RegistryError: there is no previous version.
            BusyError: another promotion of this model takes too long.
        """
        if self.find(name, alias=PREVIOUS) is None:
            raise RegistryError(f"model {name!r} has no previous version to go back to")
        with told("roll back"):
            self._promoter.rollback(name, by)
        return self.load(name, alias=CHAMPION)

    def promotions(self, name: str) -> tuple[Promotion, ...]:
        """Return every promotion of a model's versions, the earliest first."""
        found = [promotion for model in self.versions(name) for promotion in model.promotions]
        return tuple(sorted(found, key=lambda promotion: promotion.number))

    def names(self) -> tuple[str, ...]:
        """Return the names of all models."""
        with told("list its models"):
            found = self._client.search_registered_models(max_results=1000)
        return tuple(sorted(model.name for model in found if not model.name.endswith(CLAIMS_SUFFIX)))

    def versions(self, name: str) -> tuple[RegisteredModel, ...]:
        """Return all versions of a model, the first one first; none for an unknown name."""
        found = self._versions(name)
        if not found:
            return ()
        by_version: dict[int, list[str]] = {}
        # A search does not fill in the aliases.
        for alias, version in self._promoter.aliases(name).items():
            by_version.setdefault(version, []).append(alias)
        models = (self._model(version, by_version.get(int(version.version), [])) for version in found)
        return tuple(sorted(models, key=lambda model: model.version))

    def find(self, name: str, *, alias: str) -> RegisteredModel | None:
        """Return the version of a stage or of another alias, or None."""
        alias = self.stages.alias_of(alias)
        for model in self.versions(name):
            if alias in model.aliases:
                return model
        return None

    def load(self, name: str, *, version: int | None = None, alias: str = CHAMPION) -> RegisteredModel:
        """Return a version by number, or by the alias of a stage or another one.

        Raises:
            RegistryError: there is none; the message lists what there is.
        """
        models = self.versions(name)
        alias = self.stages.alias_of(alias)
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
        if model and (self.stages.stage_of(reference) is not None or reference.isdecimal()):
            reference = f"{model}/{reference}" if reference.isdecimal() else f"{model}@{reference}"
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise RegistryError(f"{reference!r} is no model: write name, name/3 or name@champion")
        version, alias = match["version"], match["alias"] or CHAMPION
        stage = self.stages.stage_of(alias)
        return self.load(match["name"], version=int(version) if version else None, alias=stage or alias)

    def _versions(self, name: str) -> tuple[ModelVersion, ...]:
        with told("be read"):
            return tuple(self._client.search_model_versions(f"name='{name}'", max_results=10_000))

    def _model(self, version: ModelVersion, aliases: Sequence[str]) -> RegisteredModel:
        tags = dict(version.tags)
        # Versions of earlier releases have the run's folder as their source.
        folder = Path(url2pathname(urlsplit(tags.get(_FOLDER_TAG, str(version.source))).path))
        run_id = version.run_id or ""
        return RegisteredModel(
            name=version.name,
            version=int(version.version),
            run_id=run_id,
            files=ModelFiles(self._client, run_id, folder, self._state / CACHE_NAME),
            aliases=tuple(sorted(aliases)),
            tags={key: value for key, value in tags.items() if not key.startswith((_OUR_TAGS, RECORD_PREFIX))},
            promotions=promotions_in(tags),
            created_utc_s=version.creation_timestamp / 1000,
        )
