"""Gives files that have no name: whatever ends who has them open, even the power, there is nothing to remove."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def unnamed_files() -> Iterator[Callable[[str], Path]]:
    """Yield a function that makes an empty file of a name, for who debugs, and returns a path that leads to it.

    The path is one for other programs of this user. The files are gone with the last process that has them open: this
    one until the end of the context, or the program that it becomes in it.
    """
    with ExitStack() as opened:

        def new(name: str) -> Path:
            file = opened.enter_context(tempfile.TemporaryFile(prefix=f"fieldloop-{name}-"))
            os.set_inheritable(file.fileno(), True)  # noqa: FBT003 - os takes it so
            # Not /proc/self: the program that fills it has another file under that number, or none.
            return Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")

        yield new
