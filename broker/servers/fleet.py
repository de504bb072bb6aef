"""Runs Mosquitto for a fleet: writes what it reads, starts it, and has it read new access rules while it runs."""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.access import render_rules
from broker.client import Endpoint
from broker.errors import BrokerStartError
from broker.identity.files import UnwritableError, make_private_folder, write_file
from broker.identity.names import Fleet
from broker.servers.mosquitto import READY_PATTERN
from broker.servers.mosquitto_server import ServerPlan, render_server_config
from broker.servers.process import LocalBroker, start_broker_process

logger = logging.getLogger(__name__)

KIND: Final = "mosquitto"


def write_server_files(plan: ServerPlan, fleet: Fleet, *, exact: bool = False) -> None:
    """Write configuration and access rules; both are replaced whole.

    Raises:
        BrokerStartError: a certificate or key is not there, or the folder cannot be written.
    """
    for file in (plan.ca, plan.certificate, plan.key):
        if not file.is_file():
            raise BrokerStartError(f"{file} is not there; `fieldloop fleet init` makes it")
    try:
        make_private_folder(plan.folder)
        make_private_folder(plan.state)
        write_file(plan.rules, render_rules(fleet, exact=exact).encode(), is_secret=True, replaces=True)
        write_file(plan.config, render_server_config(plan).encode(), is_secret=True, replaces=True)
    except (OSError, UnwritableError) as error:
        raise BrokerStartError(f"{plan.folder} cannot be written: {error}") from error


class FleetBroker:
    """A running Mosquitto of one fleet; `stop` it."""

    def __init__(self, program: Path, plan: ServerPlan, view: Callable[[], Fleet], *, exact: bool = False) -> None:
        """Write its files and start it.

        Args:
            program: Mosquitto.
            plan: its configuration.
            view: returns the identities as they stand.
            exact: the form of the access rules.

        Raises:
            BrokerStartError: it did not come up; with the last lines of its log.
        """
        self._plan = plan
        self._view = view
        self._exact = exact
        self._fleet = view()
        write_server_files(plan, self._fleet, exact=exact)
        self.process: LocalBroker = start_broker_process(
            [str(program), "-c", str(plan.config)],
            READY_PATTERN,
            endpoint=Endpoint(plan.host or "127.0.0.1", plan.port),
            kind=KIND,
            folder=plan.folder,
        )

    def follow(self) -> bool:
        """Have it read new access rules when identities have changed; return whether they have.

        Call it now and then. The new rules hold for clients that are connected too: Mosquitto asks them for every
        message. A client whose rights are gone keeps its link, and gets nothing in or out of it.
        """
        fleet = self._view()
        if fleet == self._fleet:
            return False
        write_file(self._plan.rules, render_rules(fleet, exact=self._exact).encode(), is_secret=True, replaces=True)
        os.kill(self.process.pid, signal.SIGHUP)
        self._fleet = fleet
        logger.info("access rules were written anew: %d active, %d revoked", len(fleet.active), len(fleet.revoked))
        return True

    def stop(self) -> None:
        """End it."""
        self.process.stop()
