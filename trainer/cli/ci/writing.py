"""Puts a workflow into the repository of a project."""

from importlib.metadata import version
from pathlib import Path

from edge_agent.durable import replace_file
from trainer.cli.ci.workflow import PLACES, USUAL_SCHEDULE, Provider, Wanted, workflow_text
from trainer.errors import ProjectError
from trainer.features.checking import are_readable
from trainer.features.view_rows import view_names
from trainer.features.views.view import FeatureView
from trainer.features.views.view_file import find_view_files, load_views
from trainer.project.project import LoadedProject
from trainer.project.registry import CHAMPION


def write_workflow(loaded: LoadedProject, provider: Provider, *, force: bool) -> Path:
    """Write the workflow of a project, and return its path.

    Args:
        loaded: the project.
        provider: that runs it.
        force: whether a file there may be overwritten.

    Raises:
        ProjectError: there is a file already, or no person must approve a champion, or data lie outside of the project,
            or the source of a view outside of the repository.
    """
    registry = loaded.project.registry
    if CHAMPION not in registry.approval:
        raise ProjectError(
            f"{loaded.folder}: the workflow releases by stage, and this project's runs promote by themselves; "
            'set approval = ["champion"] under [registry] in the project file'
        )
    outside = [path for path in loaded.project.data.path if Path(path).is_absolute() or path.startswith("..")]
    if outside:
        raise ProjectError(f"{outside[0]}: a workflow sees its repository alone; put the data under {loaded.folder}")
    root = _root_of(loaded.folder)
    files = find_view_files(loaded.folder)
    declared = {view.name: view for file in files for view in load_views(file)}
    names = view_names(loaded)
    for view in declared.values():
        _verify_inside(view, root)
    is_tested_alone = are_readable(names, declared)
    variables = {view.source.database_env for view in declared.values()} - {None}
    path = root / PLACES[provider]
    if path.exists() and not force:
        raise ProjectError(f"{path} exists already: edit it, or give --force to write it anew")
    wanted = Wanted(
        folder=loaded.folder.relative_to(root).as_posix(),
        version=version("fieldloop"),
        view_files=tuple(file.relative_to(loaded.folder).as_posix() for file in files),
        rows="files" if not names else "sources" if is_tested_alone else "store",
        variables=tuple(sorted(map(str, variables))),
        stages=registry,
        schedule=loaded.project.triggers.schedule or USUAL_SCHEDULE,
    )
    text = workflow_text(provider, wanted)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())
    return path


def _verify_inside(view: FeatureView, root: Path) -> None:
    outside = [path for path in view.source.path if "://" not in path and not Path(path).is_relative_to(root)]
    if outside:
        raise ProjectError(
            f"view {view.name!r}: {outside[0]}: a workflow sees its repository alone; put it under {root}, or name an "
            "address"
        )


def _root_of(folder: Path) -> Path:
    """Return the root of the repository that a folder lies in; the folder itself where there is none."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder)
