"""Reads the views that a file declares.

TOML: ``[[entities]]``, ``[[views]]``, ``[views.source]``, ``[[views.features]]``. Python: every `FeatureView` at the
top of the file, alone or in a list or tuple.
"""

import ast
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from trainer.errors import ProjectError
from trainer.features.views.view import Entity, FeatureView, Source, ViewFeature, verify_view
from trainer.project.section import Section
from trainer.project.stores import hidden

_PYTHON: Final = ".py"


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
    """Read the views that a file declares; one in Python is run for it.

    Raises:
        ProjectError: unreadable, an unknown key, an entity that is not declared, a view that cannot be, or Python that
            ends with an error or declares none.
    """
    return _views_of_python(path) if path.suffix == _PYTHON else _views_of_toml(path)


def _views_of_python(path: Path) -> tuple[FeatureView, ...]:
    folder = str(path.parent.resolve())
    # What lies beside it can be imported, as in every program.
    sys.path.insert(0, folder)
    try:
        names = runpy.run_path(str(path), run_name=path.stem)
    except (Exception, SystemExit) as error:
        line = next((f", line {at}" for at in _lines_in(error, path)), "")
        raise ProjectError(f"{path}{line}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    views: dict[str, FeatureView] = {}
    for view in _views_among(names.values()):
        if views.setdefault(view.name, view) != view:
            raise ProjectError(f"{path}: two views have the same name {view.name!r}; rename one")
    if not views:
        raise ProjectError(f"{path}: declares no FeatureView at its top (trainer.features.views.view.FeatureView)")
    return tuple(_verified(view, path) for view in views.values())


def _views_among(values: Any) -> Iterator[FeatureView]:  # noqa: ANN401 - whatever a file has at its top
    for value in values:
        if isinstance(value, FeatureView):
            yield value
        elif isinstance(value, list | tuple):
            yield from (each for each in value if isinstance(each, FeatureView))


def _lines_in(error: BaseException, path: Path) -> Iterator[int]:
    """Return the lines of a file that led to an error, the innermost first."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        yield error.lineno
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    yield from reversed(lines)


def _views_of_toml(path: Path) -> tuple[FeatureView, ...]:
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
    facts = {name: getattr(view, name) for name in ("name", "features", "source", "ttl_s", "description", "owner")}
    return _verified({**facts, "entities": tuple(entities[name] for name in view.entities)}, path)


def _verified(view: Any, path: Path) -> FeatureView:  # noqa: ANN401 - a view, or what shall be one
    """Return a view whose values are of their types, and whose files are named whole."""
    try:
        found = msgspec.convert(msgspec.to_builtins(view), FeatureView)
    except (msgspec.ValidationError, TypeError) as error:
        name = view["name"] if isinstance(view, dict) else view.name
        raise ProjectError(f"{path}: view {name!r}: {error}") from error
    source, folder = found.source, path.parent.resolve()
    if source.database is not None and hidden(source.database) != source.database:
        raise ProjectError(
            f"{path}: view {found.name!r}: {hidden(source.database)} holds a password, which does not belong into this "
            "file; put the address into an environment variable, and name that in 'database_env'"
        )
    # Read from anywhere later: what lies beside this file is named whole.
    placed = tuple(p if "://" in p else str(folder / p) for p in source.path)
    found = msgspec.structs.replace(found, source=msgspec.structs.replace(source, path=placed))
    verify_view(found)
    return found


def find_view_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder that declare views, by name; whether they are right is not judged."""
    found = [path for path in folder.glob("*.toml") if _declares_in_toml(path)]
    found += [path for path in folder.glob(f"*{_PYTHON}") if _declares_in_python(path)]
    return tuple(sorted(found))


def _declares_in_toml(path: Path) -> bool:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return any(line.split("#")[0].strip() in {"[[views]]", "[[entities]]"} for line in lines)


def _declares_in_python(path: Path) -> bool:
    """Tell, without running it, whether a file gives a `FeatureView` a name at its top."""
    try:
        statements = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return False
    values = [statement.value for statement in statements if isinstance(statement, ast.Assign | ast.AnnAssign)]
    calls = [
        node.func for value in values if value is not None for node in ast.walk(value) if isinstance(node, ast.Call)
    ]
    return any(isinstance(call, ast.Name) and call.id == FeatureView.__name__ for call in calls)
