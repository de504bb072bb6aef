"""What an agent last wrote about itself, for ``fieldloop-agent status``: readable while it runs and after it ended."""

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from broker.messages import TelemetryWindow
from edge_agent.durable import replace_file
from edge_agent.telemetry.sketches import LatencySketch

LIVE_NAME: Final = "live.json"
SPOOL_NAME: Final = "spool.db"


class LastWindow(Struct, frozen=True):
    """The last window that became durable, in short."""

    bundle: str
    variant: str
    first_row: int
    last_row: int
    rows_scored: int
    rows_refused: dict[str, int]
    ended_utc_s: float
    median_latency_us: float | None


class StandIn(Struct, frozen=True):
    """A bundle that scores in place of the committed one, and that one."""

    bundle: str
    variant: str
    slot: str
    in_place_of: str


class Live(Struct, frozen=True):
    """Counters of one start of the agent.

    Attributes:
        connected: whether the link to the broker was up.
        rows_scored, rows_refused: rows of windows that are durable, since this start.
        refused_messages: messages from the broker that could not be read.
        answers_lost: answers that the sink dropped.
        rows_turned_away: rows that a live source refused because too many waited.
        source: what a live source counted, by word; empty for a file.
        stand_in: what scores in place of the committed bundle, which cannot be opened now.
    """

    device: str
    fleet: str
    agent_version: str
    boot_id: str
    pid: int
    started_utc_s: float
    at_utc_s: float
    connected: bool = False
    rows_scored: int = 0
    rows_refused: int = 0
    windows: int = 0
    refused_messages: int = 0
    answers_lost: int = 0
    rows_turned_away: int = 0
    last_window: LastWindow | None = None
    stand_in: StandIn | None = None
    source: dict[str, int] = {}


def in_short(window: TelemetryWindow) -> LastWindow:
    """Return what people want to know of a window at a glance."""
    sketch = LatencySketch(window.latency)
    return LastWindow(
        bundle=str(window.bundle),
        variant=window.variant,
        first_row=window.first_row,
        last_row=window.last_row,
        rows_scored=window.rows_scored,
        rows_refused=dict(window.rows_refused),
        ended_utc_s=window.ended_utc_s,
        median_latency_us=round(sketch.quantile(0.5), 1) if sketch.count else None,
    )


def write_live(state: Path, live: Live) -> None:
    """Write it; raise OSError where the disk refuses."""
    replace_file(state / LIVE_NAME, msgspec.json.encode(live))


def read_live(state: Path) -> Live | None:
    """Read it; None where there is none."""
    try:
        return msgspec.json.decode((state / LIVE_NAME).read_bytes(), type=Live)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
