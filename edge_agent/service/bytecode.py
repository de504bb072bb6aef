"""Leaves the bytecode that a service starts from: run as ``python FLAGS -m edge_agent.service.bytecode``.

The flags are those of the unit. Python itself writes the bytecode of each module that is imported.
"""

import contextlib
import importlib
import pkgutil
import sys
from pathlib import Path

import edge_agent.scoring
import edge_agent.sensing
import edge_agent.service
from edge_agent.durable import replace_file
from edge_agent.start_archive import NAME, archive_bytes

# What a service loads, and nothing else of ours loads at once.
_LATE = (
    "edge_agent.cli",
    "edge_agent.upkeep",
    "edge_agent.wiring",
    "encodings.ascii",
    "faulthandler",
    "json",
    "signal",
)
_PARTS = (edge_agent.scoring, edge_agent.sensing, edge_agent.service)


def make_bytecode(folder: str) -> None:
    """Import what a service may load, runtimes that are installed included, and write the archive of all that.

    Args:
        folder: Python's own for bytecode, `sys.pycache_prefix`.
    """
    for name in _LATE:
        importlib.import_module(name)
    for part in _PARTS:
        for module in pkgutil.iter_modules(part.__path__, f"{part.__name__}."):
            # A runtime that is not installed, or is broken: who runs it is told then.
            with contextlib.suppress(Exception):
                importlib.import_module(module.name)
    replace_file(Path(folder, NAME), archive_bytes(sys.modules))


if __name__ == "__main__":
    if sys.pycache_prefix is None:
        sys.exit("no folder for bytecode: start Python with -X pycache_prefix=FOLDER")
    make_bytecode(sys.pycache_prefix)
