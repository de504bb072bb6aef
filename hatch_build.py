"""Builds the native engine into what is installed: every architecture into a wheel, this machine's into a checkout.

Without a compiler the installation goes on: the runtime `native` is then missing, and says how to get it.
"""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_EDITABLE = "editable"


class EngineBuildHook(BuildHookInterface[Any]):
    """Called by hatchling before it packs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Compile; ``lib`` is listed under `artifacts`, as git ignores it."""
        # The folder of this file: the package that is built is not installed yet.
        sys.path.insert(0, str(Path(__file__).parent))
        try:
            from edge_agent.engine import compile as engine  # noqa: PLC0415 - found by the line above
        finally:
            sys.path.pop(0)
        engine.main([] if version == _EDITABLE else ["--all"])
