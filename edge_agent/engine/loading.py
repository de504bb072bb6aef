"""Loads the engine: as an extension module where this interpreter can, else through ctypes."""

import sys
from pathlib import Path
from typing import Final, Literal, Protocol, cast

from broker.extensions import load_extension, takes_extensions
from edge_agent.engine.face import Engine, RowEngine
from edge_agent.engine.library import LIBRARIES, architecture, find_library

FaceName = Literal["extension", "ctypes"]
_MODULE: Final = "fieldloop_engine"


def load_engine(face: FaceName | None = None, library: Path | None = None) -> Engine:
    """Load the engine of this machine.

    Args:
        face: how to call it; None: the fastest that this interpreter can.
        library: the file; None: the one that was built for this machine.

    Raises:
        ImportError: there is none, or it cannot be loaded; the message says what to do.
    """
    library = library or find_library()
    if library is None:
        # Resolved: an export finds us through links in a folder that is gone when somebody reads its report.
        raise ImportError(
            f"no native engine for {architecture()} in {LIBRARIES.resolve()}; build it: "
            f"{sys.executable} -m edge_agent.engine.compile (needs a C compiler, or pip install ziglang)"
        )
    face = face or ("extension" if takes_extensions() else "ctypes")
    if face == "ctypes":
        # Imported here: ctypes costs a device memory that the extension saves.
        from edge_agent.engine.foreign import ForeignEngine  # noqa: PLC0415

        return ForeignEngine(library)
    return _load_extension(library)


def load_row_engine() -> RowEngine | None:
    """Load the engine for blocks of rows; None where it is not built, or this interpreter takes no extension module."""
    library = find_library()
    if library is None or not takes_extensions():
        return None
    try:
        module = _load_extension(library)
    except ImportError:
        return None
    # A library that was built from older sources has no blocks.
    return module if hasattr(module, "rows") else None


class _Extension(Engine, RowEngine, Protocol):
    """The extension module: `Engine` and `RowEngine`."""


def _load_extension(library: Path) -> _Extension:
    return cast("_Extension", load_extension(library, _MODULE))
