"""Free ports of loopback, for what a test starts later on: no two workers of one run take the same."""

import itertools
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Final

HOST: Final = "127.0.0.1"
# Below the ports that Linux gives out itself (from 32,768 on): a program that asks for any port never gets one of ours
# between the moment when it is found free and the moment when a test listens on it, or listens on it again.
LOWEST: Final = 10_000
END: Final = 32_768


def share_of_worker(environ: Mapping[str, str]) -> range:
    """Return the ports of one of pytest-xdist's workers; without workers, all."""
    worker = int(environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    n_workers = int(environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    # A worker that takes the place of one that crashed is counted on.
    return range(LOWEST + worker % n_workers, END, n_workers)


def _from_here(share: range, start: int) -> Iterator[int]:
    start %= len(share)
    return itertools.cycle((*share[start:], *share[:start]))


# Not the one that was just free again: what listened there may be about to listen again. Another run of the tests on
# this machine begins elsewhere.
_next_ports: Final = _from_here(share_of_worker(os.environ), os.getpid() * 97)


def free_port() -> int:
    """Return a port that nobody listens on, and that has not been returned for thousands of calls."""
    return next(port for port in _next_ports if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
