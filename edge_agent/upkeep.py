"""Joins all that an agent does beside scoring: keeping what was scored, sending it, taking orders, updates, shadows.

It is joined once the first row was scored, or none was there: a device that starts scores first, and the network's
libraries alone take longer to load than all that scoring needs.
"""

import random
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.client import Endpoint
from broker.errors import LinkError
from broker.messages import Event, Facts, Status
from broker.tls import open_tls
from edge_agent.agent import MAX_REASON
from edge_agent.errors import SettingsError
from edge_agent.facts import read_facts
from edge_agent.housekeeping import Housekeeping
from edge_agent.link import DeviceLink
from edge_agent.live import Live, write_live
from edge_agent.local_orders import LocalOrders
from edge_agent.orders import Orders
from edge_agent.parts import Parts
from edge_agent.recorder import Recorder
from edge_agent.self_report import diagnosis_of, live_of, status_of
from edge_agent.settings import BrokerSettings
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.update.shadow import Process, Shadow
from edge_agent.update.shadow_messages import ShadowOrder

if TYPE_CHECKING:
    from edge_agent.enrolment.keeper import CertificateKeeper
    from edge_agent.handover import Item


class Upkeep:
    """One agent's link and housekeeping; implements `edge_agent.housekeeping.About`.

    Attributes:
        rows_scored: rows of windows that are durable, since the start.
    """

    def __init__(self, parts: Parts, on_round: Callable[[], None] | None) -> None:
        """Join it; nothing is sent before `start`.

        Args:
            parts: what scores.
            on_round: called in each round of housekeeping, by its thread.

        Raises:
            SettingsError: the files that the link needs cannot be used.
        """
        self._parts = parts
        clock, telemetry = parts.clock, parts.settings.telemetry
        keeper = _keeper_of(parts)
        self._link = _link_of(parts, keeper)
        self._recorder = Recorder(parts.spool, parts.sink, parts.handover, parts.state)
        self._forwarder = Forwarder(
            parts.spool,
            self._link.publish,
            clock,
            random.Random(),
            resend_after_s=telemetry.resend_after_s,
            together=telemetry.windows_together,
        )
        self._housekeeping = Housekeeping(
            handover=parts.handover,
            recorder=self._recorder,
            forwarder=self._forwarder,
            updater=parts.updater,
            link=self._link,
            clock=clock,
            about=self,
            on_round=on_round,
        )
        if keeper is not None:
            keeper.join(self._link, self._housekeeping, clock)
        self._orders = Orders(
            scoring=parts.loop,
            updates=parts.updater,
            on_stored=self._housekeeping.on_stored,
            report_status=self._housekeeping.report_status,
            diagnose=self.diagnose,
            reply=self._housekeeping.reply,
            tell=self._housekeeping.tell,
            clock=clock,
        )
        shadow = Shadow(
            parts.shadow_rows,
            parts.updater,
            parts.store,
            start_process=_start_shadow,
            tell=self._housekeeping.tell,
            clock=clock,
            report_every_s=telemetry.max_window_s,
        )
        local = LocalOrders(parts.state, updates=parts.updater, diagnose=self.diagnose, clock=clock)
        self._housekeeping.also("shadow", shadow.poll, at_end=shadow.stop)
        self._housekeeping.also("orders at the device", local.poll)
        if parts.spool.recovered_from is not None:
            self.tell(
                f"the spool was damaged and made anew with {parts.spool.recovered} records of it; "
                f"the old one is kept as {parts.spool.recovered_from}"
            )

    # --- its life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect, and to keep house."""
        self._link.connect(
            self._housekeeping.on_delivery, self._housekeeping.on_link, self.status(is_online=False), random.Random()
        )
        self._housekeeping.start(self._orders)

    def stop(self, finish_s: float, close_s: float) -> bool:
        """Make durable what was handed over, say goodbye, and close the link; return whether it was done in time.

        Args:
            finish_s: longest time for what must become durable.
            close_s: longest time for the link's goodbye.
        """
        is_finished = self._housekeeping.stop(finish_s)
        self._link.close(close_s)
        return is_finished

    def hand_back(self) -> "tuple[Item, ...]":
        """Return what did not become durable; called when it has stopped."""
        return self._recorder.hand_back()

    def record_now(self) -> None:
        """Make durable what was scored until now; for `on_round`."""
        self._housekeeping.record_now()

    @property
    def refusal(self) -> str:
        """Why the disk did not take what was scored last; empty: it did."""
        return self._recorder.refusal

    def flush(self) -> None:
        """Send what waits to be sent together with something that is still to come."""
        self._forwarder.flush()

    def tell(self, reason: str) -> None:
        """Report an error of the agent itself."""
        self._housekeeping.tell(Event("error", self._parts.clock.utc_s(), "error", reason[:MAX_REASON]))

    # --- what it knows -----------------------------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        """Whether something that was scored is not durable, or the receiver has not stored something that is."""
        spool = self._parts.spool
        return self._recorder.is_behind or spool.waiting_through(spool.last_sequence) != 0

    @property
    def is_connected(self) -> bool:
        """Whether the link to the broker is up."""
        return self._link.is_connected

    @property
    def rows_scored(self) -> int:
        """Rows of windows that are durable, since the start."""
        return self._recorder.rows_scored

    def status(self, *, is_online: bool) -> Status:
        """Return what the agent is now; see `edge_agent.housekeeping.About`."""
        return status_of(self._parts, is_online=is_online)

    def facts(self) -> Facts:
        """Return what the device is now."""
        return read_facts(self._parts.state)

    def live(self) -> Live:
        """Return the agent's counters."""
        return live_of(
            self._parts,
            self._recorder,
            is_connected=self._link.is_connected,
            refused_messages=self._orders.refused_messages,
        )

    def keep_live(self, live: Live) -> None:
        """Put counters on the disk."""
        write_live(self._parts.state, live)

    def diagnose(self) -> str:
        """Tell as JSON what this agent knows of itself."""
        return diagnosis_of(self._parts, self._recorder, self._forwarder)


def _start_shadow(order: ShadowOrder) -> Process:
    # Few devices ever have one.
    from edge_agent.update.shadow_process import ShadowProcess  # noqa: PLC0415

    return ShadowProcess(order)


def _keeper_of(parts: Parts) -> "CertificateKeeper | None":
    if parts.settings.enrolment is None:
        return None
    # Only a device that enrols needs all of this.
    from edge_agent.enrolment.keeper import CertificateKeeper  # noqa: PLC0415

    return CertificateKeeper(parts.settings, parts.settings.enrolment, parts.clock)


def _link_of(parts: Parts, keeper: "CertificateKeeper | None") -> DeviceLink:
    broker, settings = parts.settings.broker, parts.settings
    return DeviceLink(
        Endpoint(broker.host, broker.port) if keeper is None else keeper.endpoint,
        settings.fleet_id,
        settings.device_id,
        broker.keepalive_s,
        _tls_of(broker) if keeper is None else keeper.tls,
        spread_s=broker.spread_s,
        is_known=keeper is None or keeper.tls is not None,
    )


def _tls_of(broker: BrokerSettings) -> ssl.SSLContext | None:
    if broker.ca is None:
        return None
    try:
        return open_tls(broker.ca, broker.certificate, broker.key)
    except LinkError as error:
        raise SettingsError(f"key 'broker.ca': {error}") from error
