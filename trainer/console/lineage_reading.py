"""Gathers a project's lineage from where it is recorded: the registry, the update repository, the fleet's database."""

from pathlib import Path

from sqlalchemy.engine import make_url

from exporter.repository.listing import is_repository
from exporter.repository.repository import list_bundles
from trainer.console.lineage import Lineage, Version, join_lineage
from trainer.errors import RegistryError
from trainer.features.views.use import ViewUse
from trainer.monitoring.fleet import list_devices
from trainer.monitoring.store import open_store
from trainer.pipeline.extracting import VIEWS_NAME, load_names, load_views
from trainer.registry.registry import RegisteredModel, Registry


def read_lineage(registry: Registry, repository: Path, database: str) -> Lineage:
    """Read all that is recorded of all models of a registry.

    Args:
        registry: with the versions.
        repository: folder of the update repository; it need not be there.
        database: of the fleet; a file that is not there is no fleet.
    """
    versions = [_version(model) for name in registry.names() for model in registry.versions(name)]
    published = [f"{ref.name}-{ref.version}" for ref in list_bundles(repository)] if is_repository(repository) else []
    return join_lineage(versions, published, _devices(database))


def node_word(registry: Registry, word: str, model: str) -> str:
    """Return what a lineage calls the version that a word names; any other word as it is.

    Args:
        registry: that knows the versions.
        word: of a user: ``champion``, ``3``, ``quality@previous``, a feature's name …
        model: the project's.
    """
    reference = word.removeprefix("model:")
    is_stage = registry.stages.stage_of(word) is not None or word.isdecimal()
    if reference == word and word != model and not is_stage and "@" not in word and "/" not in word:
        return word
    try:
        found = registry.resolve(reference, model)
    except RegistryError:
        if reference != word or "@" in word:
            raise
        return word
    return f"model:{found.name}/{found.version}"


def _version(model: RegisteredModel) -> Version:
    tags = model.tags
    words = [*model.aliases, *(f"{name} {tags[name]}" for name in ("quality", "gate") if tags.get(name))]
    if tags.get("previous"):
        words.append(f"compared with {model.name}/{tags['previous']}")
    try:
        features = load_names(model.file("extract/table.json").parent)[0]
    except RegistryError:
        # Made by an older release on another machine: it is shown with what the registry alone knows.
        features = ()
    has_bundle = (model.files.local / "export" / "bundle").is_dir() or any(
        file.path == "export/bundle/manifest.json" for file in model.files.listed()
    )
    return Version(
        model=f"{model.name}/{model.version}",
        run=model.run_id,
        run_about=tags.get("trigger", ""),
        about=", ".join(words)[:120],
        features=features,
        data=tags.get("data_sha256", "unknown"),
        bundle=f"{model.name}-{model.version}" if has_bundle else None,
        views=_views(model),
    )


def _views(model: RegisteredModel) -> tuple[ViewUse, ...]:
    """Return which views a version's rows were taken from; of most there are none, and no file."""
    here, place = model.files.local / "extract", f"extract/{VIEWS_NAME}"
    if here.is_dir():
        return load_views(here)
    is_kept = any(file.path == place for file in model.files.listed())
    return load_views(model.file(place).parent) if is_kept else ()


def _devices(database: str) -> dict[str, str]:
    url = make_url(database)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return {}
    store = open_store(database)
    try:
        states = list_devices(store)
    finally:
        store.close()
    return {
        str(state.device): f"{state.bundle.name}-{state.bundle.version}" for state in states if state.bundle is not None
    }
