"""Names the environment that runs MLflow's page: what is in it, and where it lies in the user's cache.

All of MLflow is many times larger than what Fieldloop uses of it, so it has an environment of its own and is installed
only for those who want its page.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from exporter.pinned_environment import PinnedEnvironment, cache_folder, environment_key
from trainer.errors import MissingProgramError

REQUIREMENTS_NAME: Final = "registry-ui.txt"
# Measured: 830 MB on disk, 100 s on two cores.
SIZE_TEXT: Final = "about 830 MB"
_KEY_DIGITS: Final = 16


def page_environment(environment: Mapping[str, str]) -> PinnedEnvironment:
    """Return the environment, made or not; this Python makes it, and another Python has another one.

    Args:
        environment: variables of the process.

    Raises:
        MissingProgramError: its requirements are not there. Making it raises the same.
    """
    # In a checkout a link to those in ``requirements/``, in a package their copy.
    requirements = Path(__file__).with_name(REQUIREMENTS_NAME)
    if not requirements.is_file():
        raise MissingProgramError(f"{requirements} is missing from this installation; install fieldloop anew")
    key = environment_key(requirements, sys.version)[:_KEY_DIGITS]
    return PinnedEnvironment(
        cache_folder(environment) / f"registry-ui-{key}",
        requirements,
        content="MLflow's page",
        pip_mend="this mends it on Debian and its children: sudo apt-get install python3-pip python3-venv",
        failure=MissingProgramError,
    )
