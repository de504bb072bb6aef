"""Names the environment that writes packages of Kubeflow Pipelines, and where it lies in the user's cache."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from exporter.pinned_environment import PinnedEnvironment, cache_folder, environment_key
from trainer.errors import MissingProgramError

REQUIREMENTS_NAME: Final = "kubeflow.txt"
BUILDER_NAME: Final = "kubeflow-build.txt"
# The client of a cluster's own service has no wheel; kfp imports it whatever it is asked for.
_FROM_SOURCE: Final = ("kfp-server-api",)
CONTENT: Final = "the SDK of Kubeflow Pipelines"
# Measured: 103 MB on disk, 60 s on two busy cores.
SIZE_TEXT: Final = "about 105 MB"
_KEY_DIGITS: Final = 16


def kubeflow_environment(environment: Mapping[str, str]) -> PinnedEnvironment:
    """Return the environment, made or not; this Python makes it, and another Python has another one.

    Args:
        environment: variables of the process.

    Raises:
        MissingProgramError: its requirements are not there. Making it raises the same.
    """
    requirements = _file(REQUIREMENTS_NAME)
    key = environment_key(requirements, sys.version)[:_KEY_DIGITS]
    return PinnedEnvironment(
        cache_folder(environment) / f"kubeflow-{key}",
        requirements,
        content=CONTENT,
        pip_mend="this mends it on Debian and its children: sudo apt-get install python3-pip python3-venv",
        failure=MissingProgramError,
        from_source=_FROM_SOURCE,
        builder=_file(BUILDER_NAME),
    )


def kfp_version() -> str:
    """Return the version of the SDK that is pinned: the image that runs the steps must hold it too."""
    requirements = _file(REQUIREMENTS_NAME)
    found = re.search(r"^kfp==(\S+)", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise MissingProgramError(f"{requirements} pins no kfp; install fieldloop anew")
    return found[1]


def _file(name: str) -> Path:
    # In a checkout a link to those in ``requirements/``, in a package their copy.
    requirements = Path(__file__).with_name(name)
    if not requirements.is_file():
        raise MissingProgramError(f"{requirements} is missing from this installation; install fieldloop anew")
    return requirements
