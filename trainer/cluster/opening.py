"""Opens a crew where Dask is installed, and says how to get it where it is not."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from edge_agent.clock import Clock
from trainer.errors import MissingProgramError
from trainer.project.cluster import ClusterSection

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from trainer.cluster.crew import Crew
    from trainer.cluster.kit import Opener

_PACKAGES: Final = ("dask", "distributed")


def verify_installed(cluster: ClusterSection) -> None:
    """Verify that what reaches a cluster is installed, before anything is done that would have to wait for it.

    Raises:
        MissingProgramError: the project names a cluster, and Dask is not installed.
    """
    for package in _PACKAGES if cluster.dask is not None else ():
        if find_spec(package) is None:
            raise MissingProgramError(
                f"a cluster needs the package {package!r} here too: pip install 'fieldloop[dask]'"
            )


def opened_crew(
    cluster: ClusterSection,
    opener: "Opener",
    data: bytes,
    *,
    clock: Clock,
    packages: Sequence[str],
    modules: Sequence[str] = (),
) -> "AbstractContextManager[Crew]":
    """Return what `trainer.cluster.crew.opened_crew` does.

    Raises:
        MissingProgramError: Dask is not installed.
    """
    verify_installed(cluster)
    from trainer.cluster import crew  # noqa: PLC0415 - Dask is an extra

    return crew.opened_crew(cluster, opener, data, clock=clock, packages=packages, modules=modules)
