"""Names the environment that writes packages of Kubeflow Pipelines, and where it lies in the user's cache."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from exporter.pinned_environment import PinnedEnvironment, pinned_file
from trainer.errors import MissingProgramError

_NAME: Final = "kubeflow"
_REQUIREMENTS: Final = Path(__file__).with_name(f"{_NAME}.txt")
_BUILDER: Final = Path(__file__).with_name("kubeflow-build.txt")
# The client of a cluster's own service has no wheel; kfp imports it whatever it is asked for.
_FROM_SOURCE: Final = ("kfp-server-api",)
CONTENT: Final = "the SDK of Kubeflow Pipelines"
# Measured: 103 MB on disk, 60 s on two busy cores.
SIZE_TEXT: Final = "about 105 MB"


def kubeflow_environment(environment: Mapping[str, str]) -> PinnedEnvironment:
    """Return the environment, made or not.

    Args:
        environment: variables of the process.

    Raises:
        MissingProgramError: its requirements are not there. Making it raises the same.
    """
    return PinnedEnvironment.of_this_python(
        _NAME,
        _REQUIREMENTS,
        environment,
        content=CONTENT,
        failure=MissingProgramError,
        from_source=_FROM_SOURCE,
        builder=_BUILDER,
    )


def kfp_version() -> str:
    """Return the version of the SDK that is pinned: the image that runs the steps must hold it too."""
    requirements = pinned_file(_REQUIREMENTS, MissingProgramError)
    found = re.search(r"^kfp==(\S+)", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise MissingProgramError(f"{requirements} pins no kfp; install fieldloop anew")
    return found[1]
