"""What a service says of itself, to the broker and to people: read from its parts; it keeps nothing."""

import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from broker.client import Endpoint
from broker.messages import Facts, Status
from broker.topics import DeviceId, FleetId
from edge_agent.clock import Clock
from edge_agent.facts import read_facts
from edge_agent.link import DeviceLink
from edge_agent.live import Live, write_live
from edge_agent.recorder import Recorder
from edge_agent.release import VERSION
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.telemetry.spool import Spool
from edge_agent.update.states import State
from trainer.serving.feedback.counting import Counting

if TYPE_CHECKING:
    from edge_agent.orders import Orders


class Tls(Struct, frozen=True):
    """Files by which a broker is known, and a service by it."""

    ca: Path
    certificate: Path
    key: Path


class Identity(Struct, frozen=True):
    """Who a service is on the wire.

    Attributes:
        endpoint: where the fleet's broker listens.
        device: its name in topics; each service has one of its own.
        state: its folder: what was not stored yet outlives it.
        reference: what it serves, in words.
    """

    endpoint: Endpoint
    fleet: FleetId
    device: DeviceId
    state: Path
    reference: str
    tls: Tls | None = None


class About:
    """Implements `edge_agent.housekeeping.About`.

    Attributes:
        orders: what it was ordered; None: nothing can be yet.
    """

    def __init__(
        self,
        identity: Identity,
        boot_id: str,
        clock: Clock,
        counting: Counting,
        spool: Spool,
        recorder: Recorder,
        forwarder: Forwarder,
        link: DeviceLink,
    ) -> None:
        """Take the parts."""
        self.orders: Orders | None = None
        self._identity = identity
        self._boot_id = boot_id
        self._clock = clock
        self._started_utc_s = clock.utc_s()
        self._counting = counting
        self._spool = spool
        self._recorder = recorder
        self._forwarder = forwarder
        self._link = link

    def status(self, *, is_online: bool) -> Status:
        """Return what the service is now, without facts."""
        return Status(
            online=is_online,
            at_utc_s=self._clock.utc_s(),
            boot_id=self._boot_id,
            agent_version=VERSION,
            bundle=self._counting.bundle,
            variant=self._counting.variant,
            # Its bundle was proved before it took over: nothing is ever on trial.
            update_state=State.IDLE.value,
        )

    def facts(self) -> Facts:
        """Return what its machine is."""
        return read_facts(self._identity.state)

    def live(self) -> Live:
        """Return its counters, as ``fieldloop-agent status`` shows them."""
        recorder = self._recorder
        return Live(
            device=self._identity.device,
            fleet=self._identity.fleet,
            agent_version=VERSION,
            boot_id=self._boot_id,
            pid=os.getpid(),
            started_utc_s=self._started_utc_s,
            at_utc_s=self._clock.utc_s(),
            connected=self._link.is_connected,
            rows_scored=recorder.rows_scored,
            rows_refused=recorder.rows_refused,
            windows=recorder.windows,
            refused_messages=self.orders.refused_messages if self.orders is not None else 0,
            last_window=recorder.last_window,
            source={"uncounted": self._counting.uncounted},
        )

    def keep_live(self, live: Live) -> None:
        """Put its counters on the disk."""
        write_live(self._identity.state, live)

    def diagnose(self) -> str:
        """Tell as JSON what it knows of itself."""
        facts, recorder = self.facts(), self._recorder
        report = {
            "service": VERSION,
            "python": platform.python_version(),
            "device": self._identity.device,
            "boot_id": self._boot_id,
            "up_s": round(self._clock.utc_s() - self._started_utc_s, 1),
            "serves": self._identity.reference,
            "running": str(self._counting.bundle),
            "spool": {
                channel.value: {"put": counts.put, "waiting": counts.waiting, "dropped": counts.dropped}
                for channel, counts in self._spool.counts().items()
            },
            "forwarder": {"sent": self._forwarder.sent, "resends": self._forwarder.resends},
            "rows": {
                "scored": recorder.rows_scored,
                "refused": recorder.rows_refused,
                "uncounted": self._counting.uncounted,
            },
            "architecture": facts.architecture,
            "free_disk_bytes": facts.free_disk_bytes,
        }
        return json.dumps(report)
