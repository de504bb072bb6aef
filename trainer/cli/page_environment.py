"""Names the environment that runs MLflow's page: what is in it, and where it lies in the user's cache.

All of MLflow is many times larger than what Fieldloop uses of it, so it has an environment of its own and is installed
only for those who want its page.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from exporter.pinned_environment import PinnedEnvironment
from trainer.errors import MissingProgramError

_NAME: Final = "registry-ui"
# Measured: 830 MB on disk, 100 s on two cores.
SIZE_TEXT: Final = "about 830 MB"


def page_environment(environment: Mapping[str, str]) -> PinnedEnvironment:
    """Return the environment, made or not.

    Args:
        environment: variables of the process.

    Raises:
        MissingProgramError: its requirements are not there. Making it raises the same.
    """
    requirements = Path(__file__).with_name(f"{_NAME}.txt")
    return PinnedEnvironment.of_this_python(
        _NAME, requirements, environment, content="MLflow's page", failure=MissingProgramError
    )
