"""Bounds the threads of native libraries: of BLAS above all, which adds up in another order with every number of them.

`threadpoolctl` reads the whole memory map of the process to find them, some milliseconds each time; a search that fits
a hundred models would do so two hundred times.
"""

import sys
from functools import lru_cache
from typing import Final, Literal, Protocol

from threadpoolctl import ThreadpoolController

Library = Literal["blas", "openmp"]

__all__ = ["Library", "Limit", "one_thread"]


class Limit(Protocol):
    """A limit that holds until its context ends, or it is taken back."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...

    def restore_original_limits(self) -> None:
        """Take it back."""
        ...


_ONE: Final = 1


def one_thread(library: Library | None = None) -> Limit:
    """Hold the native libraries of this process at one thread each, from this call on.

    Args:
        library: of one kind; None: all of them.
    """
    # A library comes with a module that needs it: with no new module, there is no new library.
    limit: Limit = _controller(len(sys.modules)).limit(limits=_ONE, user_api=library)
    return limit


@lru_cache(maxsize=1)
def _controller(n_modules: int) -> ThreadpoolController:  # noqa: ARG001 - what it was found for
    return ThreadpoolController()
