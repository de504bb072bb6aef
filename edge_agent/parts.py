"""What an agent opens before its first row: what scoring cannot do without, and what all else is joined to."""

from pathlib import Path

from msgspec import Struct

from edge_agent.agent import ScoringLoop
from edge_agent.clock import Clock
from edge_agent.handover import Handover
from edge_agent.sensing.sink import Sink
from edge_agent.settings import AgentSettings
from edge_agent.sources import SourceOpener
from edge_agent.telemetry.spool import Spool
from edge_agent.update.shadow_queue import ShadowQueue
from edge_agent.update.slots import SlotStore
from edge_agent.update.updater import Updater


class Parts(Struct, frozen=True, eq=False):
    """One agent's, opened and joined; each is closed by who opened it.

    Attributes:
        state: the state folder.
        sink: takes answers, also those that the source itself wants.
        updater: has been started: it knows what scores.
        shadow_rows: rows that were scored, for a bundle in the shadow.
        boot_id: of this start.
        started_utc_s: when that was.
    """

    settings: AgentSettings
    clock: Clock
    state: Path
    spool: Spool
    source: SourceOpener
    sink: Sink
    handover: Handover
    loop: ScoringLoop
    store: SlotStore
    updater: Updater
    shadow_rows: ShadowQueue
    boot_id: str
    started_utc_s: float
