"""What a user means by a model that is to score: a bundle on this disk, or a version of the project's registry."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.serving.origin import Origin


def origin_of(what: str, project: Path) -> "Origin":
    """Return where the model comes from: a bundle on this disk if there is one, else the project's registry.

    Raises:
        ProjectError: neither a bundle nor a project is there.
    """
    from trainer.errors import ProjectError
    from trainer.project.loading import load_project
    from trainer.registry.registry import open_registry
    from trainer.serving.origin import FixedBundle, RegistryVersion

    if Path(what).exists():
        return FixedBundle(Path(what))
    try:
        loaded = load_project(project)
    except ProjectError as error:
        raise ProjectError(f"{what}: no bundle here; and no version of a project: {error}") from error
    return RegistryVersion(open_registry(loaded), what, loaded.project.name)
