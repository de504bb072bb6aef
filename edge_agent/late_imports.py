"""Keeps from being loaded what a library imports and a device never uses, or not at once.

msgspec imports ``uuid`` for values that no message has, the updater ``urllib.request`` for proxies that few devices are
behind; with HTTP, e-mail and temporary files they cost a device more than a megabyte. The first look at an attribute
loads such a module after all.
`importlib.util.LazyLoader` does not serve: before Python 3.12 the import statement itself is such a look.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def put_off(*names: str) -> None:
    """Have modules loaded at their first use, not at their import; those that are loaded stay."""
    for name in names:
        if name not in sys.modules:
            _bind(name, _stand_in(name))


@contextmanager
def hidden(name: str) -> Iterator[None]:
    """Have a module not be found while the block runs: for a library that has another one for where it is missing."""
    if name in sys.modules:
        yield
        return
    # An import of what stands here as None fails (importlib's own rule).
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def _stand_in(name: str) -> ModuleType:
    module = ModuleType(name)

    def load(attribute: str) -> object:
        if sys.modules.get(name) is module:
            del sys.modules[name]
        real = importlib.import_module(name)
        _bind(name, real)
        return getattr(real, attribute)

    # PEP 562: asked for what the module does not have.
    vars(module)["__getattr__"] = load
    return module


def _bind(name: str, module: ModuleType) -> None:
    """Put a module where an import statement finds it, first of all one of its parent, which is imported then."""
    sys.modules[name] = module
    parent, _, leaf = name.rpartition(".")
    if parent:
        setattr(importlib.import_module(parent), leaf, module)
