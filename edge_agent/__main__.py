"""Runs ``python -m edge_agent``, which is ``fieldloop-agent``."""

import sys

from edge_agent.start_archive import open_archive

open_archive(sys.pycache_prefix)

from edge_agent.cli import main  # noqa: E402 - loaded from there

if __name__ == "__main__":
    sys.exit(main())
