"""Nodes of a NATS cluster that run on this machine, and follow the fleet's identities.

What they are configured to do `nats_cluster` writes. A node that ends by itself is told and not started again: the
others go on, as they do when a machine dies.
"""

import logging
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from broker.client import Endpoint
from broker.errors import BrokerStartError
from broker.identity.folder import FleetFolder
from broker.identity.names import Fleet
from broker.servers.nats import CONFIG_NAME, READY_PATTERN, Limits, Node
from broker.servers.nats_cluster import write_cluster, write_users
from broker.servers.process import LocalBroker, start_broker_process

logger = logging.getLogger(__name__)

KIND: Final = "nats"
# A list of 10,000 identities takes seconds to write and to read: changes that come meanwhile wait for each other.
_REST: Final = 10.0


class NatsNodes:
    """Running nodes of one fleet; `stop` them."""

    def __init__(
        self,
        program: Path,
        fleet: FleetFolder,
        folder: Path,
        cluster: Sequence[Node],
        *,
        limits: Limits,
        view: Callable[[], Fleet],
        now_s: float,
        monotonic_s: Callable[[], float] = time.monotonic,  # noqa: TID251 - floor 1 has no clock of its own
    ) -> None:
        """Write their files and start all of them.

        Args:
            program: nats-server.
            fleet: whose identities and authority these are.
            folder: gets one folder for each node; absolute.
            cluster: the nodes; each host is one of this machine.
            limits: of each node.
            view: returns the identities as they stand.
            now_s: UTC seconds.
            monotonic_s: tells how long a list took.

        Raises:
            BrokerError: a file cannot be written, or a node did not come up; with the last lines of its log.
        """
        self._folder = folder
        self._cluster = tuple(cluster)
        self._view = view
        self._monotonic_s = monotonic_s
        self._not_before_s = 0.0
        self._gone: set[str] = set()
        self._fleet = view()
        write_cluster(fleet, folder, cluster, limits, now_s)
        self.running: dict[str, LocalBroker] = {}
        try:
            for node in cluster:
                self.running[node.name] = _start(program, folder / node.name, node)
        except BrokerStartError:
            self.stop()
            raise

    def living(self) -> list[LocalBroker]:
        """Return the nodes that run; when one does no more, that is told once."""
        living = {name: node for name, node in self.running.items() if node.is_running}
        for name in self.running.keys() - living.keys() - self._gone:
            self._gone.add(name)
            code, log = self.running[name].process.returncode, self.running[name].log
            logger.warning("node %s ended with code %s, %d live; see %s", name, code, len(living), log)
        return list(living.values())

    def follow(self) -> bool:
        """Have the nodes read the list of identities again when it has changed; return whether it has.

        Call it now and then. Who was revoked is cut off, who is new is let in from then on. After a change the next one
        waits for ten times as long as it took to write the list.
        """
        begin_s = self._monotonic_s()
        if begin_s < self._not_before_s:
            return False
        fleet = self._view()
        if fleet == self._fleet:
            return False
        write_users(self._folder, self._cluster, fleet)
        for node in self.living():
            node.process.send_signal(signal.SIGHUP)
        self._fleet = fleet
        self._not_before_s = begin_s + _REST * (self._monotonic_s() - begin_s)
        logger.info("identities were written anew: %d active, %d revoked", len(fleet.active), len(fleet.revoked))
        return True

    def stop(self) -> None:
        """End them, all at once: one that sees the others go first takes longer."""
        for node in self.running.values():
            node.process.terminate()
        for node in self.running.values():
            node.stop()


def _start(program: Path, place: Path, node: Node) -> LocalBroker:
    command = [str(program), "-c", str(place / CONFIG_NAME)]
    endpoint = Endpoint(node.host, node.mqtt_port)
    return start_broker_process(command, READY_PATTERN, endpoint=endpoint, kind=KIND, folder=place)
