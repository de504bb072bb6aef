"""Joins enrolment to one agent: gives the link its identity, and a new one whenever there is one."""

import random
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from broker.client import Endpoint
from broker.errors import LinkError
from broker.messages import Event
from edge_agent.clock import Clock
from edge_agent.enrolment.duty import EnrolmentDuty
from edge_agent.enrolment.identity_file import IDENTITY_NAME, NEXT_KEY_NAME, Held, read_held
from edge_agent.enrolment.process import EnrolmentProcess
from edge_agent.errors import SettingsError
from edge_agent.fleet_time import FleetTime
from edge_agent.pinned_tls import open_pinned_tls
from edge_agent.settings import AgentSettings, BrokerSettings, EnrolmentSettings

GOODBYE_S: Final = 1.0


class Link(Protocol):
    """The way to the broker."""

    @property
    def is_connected(self) -> bool:
        """Whether it is open."""
        ...

    def use(self, endpoint: Endpoint, tls: ssl.SSLContext, timeout_s: float) -> None:
        """Go on as another identity."""


class Duties(Protocol):
    """What does something in each round, and passes on events."""

    def also(self, duty: str, act: Callable[[], None], at_end: Callable[[], None] | None = None) -> None:
        """Have one more thing done."""

    def tell(self, event: Event) -> None:
        """Report an event."""


class CertificateKeeper:
    """One device's certificate, from the link's side."""

    def __init__(self, settings: AgentSettings, enrolment: EnrolmentSettings, clock: Clock) -> None:
        """Read what identity there is.

        Raises:
            SettingsError: there is one, or a root, that cannot be used.
        """
        self._settings = settings
        self._enrolment = enrolment
        state = Path(settings.state)
        _remove_leftovers(state)
        self._identity = state / IDENTITY_NAME
        held = read_held(state)
        # An identity of another name, or of another fleet, is none of ours: the settings were changed.
        if held is not None and (held.device, held.fleet) != (settings.device, settings.fleet):
            held = None
        self._held = held
        self._time = FleetTime(clock, 0.0 if held is None else held.at_utc_s)
        self._tls = None if held is None else self._open_tls()

    @property
    def tls(self) -> ssl.SSLContext | None:
        """How the link is to be encrypted; None: there is no identity yet."""
        return self._tls

    @property
    def endpoint(self) -> Endpoint:
        """Where the broker listens."""
        return self._endpoint_by(self._held)

    def join(self, link: Link, duties: Duties, clock: Clock) -> None:
        """Have the certificate kept in each round of housekeeping."""

        def use(held: Held) -> None:
            link.use(self._endpoint_by(held), self._open_tls(), GOODBYE_S)

        duty = EnrolmentDuty(
            self._settings,
            self._enrolment,
            self._held,
            self._time,
            start=EnrolmentProcess,
            use=use,
            is_connected=lambda: link.is_connected,
            tell=duties.tell,
            clock=clock,
            rng=random.Random(),
        )
        duties.also("certificate", duty.poll, at_end=duty.stop)

    def _endpoint_by(self, held: Held | None) -> Endpoint:
        broker, default = self._settings.broker, BrokerSettings()
        host, port = broker.host, broker.port
        if held is None:
            return Endpoint(host, port)
        return Endpoint(
            held.broker_host if host == default.host else host, held.broker_port if port == default.port else port
        )

    def _open_tls(self) -> ssl.SSLContext:
        ca = self._settings.broker.ca or self._enrolment.ca
        try:
            return open_pinned_tls(ca, str(self._identity), None, self._time.utc_s)
        except LinkError as error:
            raise SettingsError(f"key 'enrolment.ca', or the identity in the state folder: {error}") from error


def _remove_leftovers(state: Path) -> None:
    """Remove what a cut left of files that were being replaced: they may hold keys."""
    for name in (IDENTITY_NAME, NEXT_KEY_NAME):
        for path in state.glob(f".{name}.*"):
            path.unlink(missing_ok=True)
