"""A process that promotes versions as fast as it can: ``promotes.py ADDRESS STATE NAME VERSION...``."""

import sys
from pathlib import Path

from trainer.registry.registry import Registry
from trainer.registry.tracking import open_client


def main(address: str, state: str, name: str, *versions: str) -> None:
    """Promote one version after the other."""
    registry = Registry(Path(state), open_client(Path(state), address))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for version in versions:
        registry.promote(name, int(version), by=f"process {versions[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
