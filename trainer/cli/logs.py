"""Sets up logging: the only place of this program that does."""

import logging
import os
import sys
from typing import Final

_OURS: Final = ("trainer", "exporter", "edge_agent", "broker")


def configure_logging(*, verbose: bool) -> None:
    """Send warnings to stderr; with ``verbose`` our own debug lines, and what libraries say of note, as well."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.NOTSET)
    # MLflow adds a handler of its own at import, and would tell its makers that it is in use.
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
