"""Starts the agent's child processes, which do what must not take the agent with it when it goes wrong."""

import os
import subprocess
import sys
from typing import IO


def start_child(module: str, stdout: int | IO[bytes], *, bufsize: int = -1) -> subprocess.Popen[bytes]:
    """Start a module of ours in a Python of its own; its orders go into its standard input.

    Args:
        module: its full name.
        stdout: where its answers go, as `subprocess.Popen` takes it.
        bufsize: of its pipes, as there.

    Raises:
        OSError: no process can be started now.
    """
    return subprocess.Popen(
        # -P: a folder named edge_agent in the working directory must not stand in for ours.
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=stdout,
        bufsize=bufsize,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        # Ctrl-C reaches the agent alone, which ends its child in its own way.
        start_new_session=True,
    )
