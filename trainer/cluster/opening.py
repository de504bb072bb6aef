"""Opens a crew where Dask is installed, and says how to get it where it is not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_agent.clock import Clock
from trainer.errors import MissingProgramError
from trainer.project.cluster import ClusterSection

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from trainer.cluster.crew import Crew
    from trainer.cluster.kit import Opener


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
    try:
        from trainer.cluster import crew  # noqa: PLC0415 - Dask is an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"dask", "distributed"}:
            raise
        raise MissingProgramError(
            f"a cluster needs the package {error.name!r} here too: pip install 'fieldloop[dask]'"
        ) from error
    return crew.opened_crew(cluster, opener, data, clock=clock, packages=packages, modules=modules)
