"""Puts a workflow into the repository of a project."""

from importlib.metadata import version
from pathlib import Path

from edge_agent.durable import replace_file
from trainer.cli.ci.workflow import PLACES, USUAL_SCHEDULE, Provider, Wanted, workflow_text
from trainer.errors import ProjectError
from trainer.features.views.view_file import find_view_files
from trainer.project.project import LoadedProject
from trainer.project.registry import CHAMPION


def write_workflow(loaded: LoadedProject, provider: Provider, *, force: bool) -> Path:
    """Write the workflow of a project, and return its path.

    Args:
        loaded: the project.
        provider: that runs it.
        force: whether a file there may be overwritten.

    Raises:
        ProjectError: there is a file already, or no person must approve a champion, or data lie outside of the project.
    """
    registry = loaded.project.registry
    if CHAMPION not in registry.approval:
        raise ProjectError(
            f"{loaded.folder}: the workflow releases by stage, and this project's runs promote by themselves; "
            'set approval = ["champion"] under [registry] in the project file'
        )
    if loaded.project.data.views or not loaded.data_paths:
        raise ProjectError(
            f"{loaded.folder}: its rows come from the feature store, which tests of a change do not reach; "
            "no workflow is written for such a project yet"
        )
    outside = [path for path in loaded.project.data.path if Path(path).is_absolute() or path.startswith("..")]
    if outside:
        raise ProjectError(f"{outside[0]}: a workflow sees its repository alone; put the data under {loaded.folder}")
    root = _root_of(loaded.folder)
    path = root / PLACES[provider]
    if path.exists() and not force:
        raise ProjectError(f"{path} exists already: edit it, or give --force to write it anew")
    wanted = Wanted(
        folder=loaded.folder.relative_to(root).as_posix(),
        version=version("fieldloop"),
        view_files=tuple(file.relative_to(loaded.folder).as_posix() for file in find_view_files(loaded.folder)),
        stages=registry,
        schedule=loaded.project.triggers.schedule or USUAL_SCHEDULE,
    )
    text = workflow_text(provider, wanted)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())
    return path


def _root_of(folder: Path) -> Path:
    """Return the root of the repository that a folder lies in; the folder itself where there is none."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder)
