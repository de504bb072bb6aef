"""Reads views from TOML: ``[[entities]]``, ``[[views]]``, ``[views.source]``, ``[[views.features]]``."""

from pathlib import Path

import msgspec

from trainer.errors import ProjectError
from trainer.features.views.view import Entity, FeatureView, Source, ViewFeature, verify_view
from trainer.project.section import Section
from trainer.project.stores import hidden


class _View(Section, frozen=True, kw_only=True):
    name: str
    entities: tuple[str, ...]
    features: tuple[ViewFeature, ...]
    source: Source = Source()
    ttl_s: float | None = None
    description: str = ""
    owner: str = ""


class _File(Section, frozen=True, kw_only=True):
    entities: tuple[Entity, ...]
    views: tuple[_View, ...]


def load_views(path: Path) -> tuple[FeatureView, ...]:
    """Read the views that a file declares.

    Raises:
        ProjectError: unreadable, an unknown key, an entity that is not declared, or a view that cannot be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path}: cannot be read: {error}") from error
    try:
        declared = msgspec.toml.decode(text, type=_File)
    except msgspec.DecodeError as error:
        raise ProjectError(f"{path}: {error}") from error
    entities = {entity.name: entity for entity in declared.entities}
    if len(entities) < len(declared.entities):
        raise ProjectError(f"{path}: two entities have the same name; rename one")
    return tuple(_view(view, entities, path) for view in declared.views)


def _view(view: _View, entities: dict[str, Entity], path: Path) -> FeatureView:
    unknown = [name for name in view.entities if name not in entities]
    if unknown:
        raise ProjectError(
            f"{path}: view {view.name!r}: there is no entity {unknown[0]!r}; declare it in [[entities]], "
            f"or take one of: {', '.join(sorted(entities))}"
        )
    source = view.source
    if source.database is not None and hidden(source.database) != source.database:
        raise ProjectError(
            f"{path}: view {view.name!r}: {hidden(source.database)} holds a password, which does not belong into this "
            "file; put the address into an environment variable, and name that in 'database_env'"
        )
    folder = path.parent.resolve()
    try:
        found = msgspec.convert(
            {
                **{name: getattr(view, name) for name in ("name", "features", "ttl_s", "description", "owner")},
                "entities": tuple(entities[name] for name in view.entities),
                # Read from anywhere later: what lies beside this file is named whole.
                "source": msgspec.structs.replace(
                    source, path=tuple(p if "://" in p else str(folder / p) for p in source.path)
                ),
            },
            FeatureView,
        )
    except msgspec.ValidationError as error:
        raise ProjectError(f"{path}: view {view.name!r}: {error}") from error
    verify_view(found)
    return found


def find_view_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder that declare views, by name; whether they are right is not judged."""
    return tuple(path for path in sorted(folder.glob("*.toml")) if _declares_views(path))


def _declares_views(path: Path) -> bool:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return any(line.split("#")[0].strip() in {"[[views]]", "[[entities]]"} for line in lines)
