"""Loads the engine: as an extension module where this interpreter can, else through ctypes."""

import importlib.machinery
import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import Final, Literal

from edge_agent.engine.face import Engine
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
        raise ImportError(
            f"no native engine for {architecture()} in {LIBRARIES}; build it: "
            f"{sys.executable} -m edge_agent.engine.compile (needs a C compiler, or pip install ziglang)"
        )
    face = face or ("extension" if takes_extensions() else "ctypes")
    if face == "ctypes":
        # Imported here: ctypes costs a device memory that the extension saves.
        from edge_agent.engine.foreign import ForeignEngine  # noqa: PLC0415

        return ForeignEngine(library)
    return _load_extension(library)


def takes_extensions() -> bool:
    """Tell whether this interpreter has the ABI that the extension was written for (src/python_abi.h)."""
    has_lock = not sysconfig.get_config_var("Py_GIL_DISABLED")
    return sys.implementation.name == "cpython" and has_lock and not hasattr(sys, "getobjects")


def _load_extension(library: Path) -> Engine:
    loader = importlib.machinery.ExtensionFileLoader(_MODULE, str(library))
    spec = importlib.util.spec_from_file_location(_MODULE, library, loader=loader)
    if spec is None:
        raise ImportError(f"{library}: is no extension module")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    engine: Engine = module  # a module with a function `open`
    return engine
