"""Runs the programs that read and write file systems within an image: mtools, and debugfs of e2fsprogs."""

import os
import subprocess
from collections.abc import Sequence
from typing import Final

from exporter.image.customise.errors import CustomiseError
from exporter.image.programs import find_program

_TIMEOUT_S: Final = 300


def run_program(command: Sequence[str], given: bytes = b"") -> bytes:
    """Run a program to its end and return what it printed.

    Args:
        command: the program's name, and its arguments.
        given: on its standard input.

    Raises:
        CustomiseError: it is missing, or failed; the message has its last words.
    """
    program = find_program(command[0], CustomiseError)
    # Geometry, which mtools would compare with the boot sector, is that of another disk since the image was made.
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1"}
    try:
        done = subprocess.run(
            [program, *command[1:]], input=given, capture_output=True, check=False, env=environment, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise CustomiseError(f"{command[0]} did not end within {_TIMEOUT_S} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace").splitlines()
        raise CustomiseError(f"{command[0]} failed: {(said or ['no word'])[-1]}")
    return done.stdout
