"""What an agent says of itself, to the broker and to people at the device: read from its parts; it keeps nothing."""

import os
import platform
from typing import Protocol

from broker.messages import Status
from edge_agent.facts import read_facts
from edge_agent.live import LastWindow, Live, StandIn
from edge_agent.parts import Parts
from edge_agent.release import VERSION
from edge_agent.update.states import State

_MAX_REASON = 200


class Recorded(Protocol):
    """What became durable since the start; see `edge_agent.recorder.Recorder`."""

    rows_scored: int
    rows_refused: int
    windows: int
    last_window: LastWindow | None


class Sent(Protocol):
    """What was sent; see `edge_agent.telemetry.forwarder.Forwarder`."""

    sent: int
    resends: int


def status_of(parts: Parts, *, is_online: bool) -> Status:
    """Return what the agent is now, without facts of the device."""
    scoring = parts.updater.scoring
    return Status(
        online=is_online,
        at_utc_s=parts.clock.utc_s(),
        boot_id=parts.boot_id,
        agent_version=VERSION,
        bundle=scoring.bundle if scoring is not None else None,
        variant=scoring.variant if scoring is not None else None,
        update_state=parts.updater.record.state.value,
    )


def line_of(parts: Parts, *, rows_scored: int, is_connected: bool) -> str:
    """Say in a line what the agent does now."""
    scoring = parts.updater.scoring
    what = f"{scoring.bundle} ({scoring.variant})" if scoring is not None else "no bundle yet"
    link = "connected" if is_connected else "no link to the broker"
    return f"{what}; update {parts.updater.record.state.value}; {rows_scored} rows; {link}"


def live_of(parts: Parts, recorded: Recorded, *, is_connected: bool, refused_messages: int) -> Live:
    """Return the agent's counters."""
    return Live(
        stand_in=_stand_in(parts),
        device=parts.settings.device,
        fleet=parts.settings.fleet,
        agent_version=VERSION,
        boot_id=parts.boot_id,
        pid=os.getpid(),
        started_utc_s=parts.started_utc_s,
        at_utc_s=parts.clock.utc_s(),
        connected=is_connected,
        rows_scored=recorded.rows_scored,
        rows_refused=recorded.rows_refused,
        windows=recorded.windows,
        refused_messages=refused_messages,
        answers_lost=parts.sink.lost,
        rows_turned_away=parts.source.inlet.turned_away if parts.source.inlet is not None else 0,
        last_window=recorded.last_window,
        source=parts.source.counts(),
    )


def diagnosis_of(parts: Parts, recorded: Recorded, sent: Sent) -> str:
    """Tell as JSON what the agent knows of itself; its settings hold no secrets."""
    import json  # noqa: PLC0415 - msgspec is what all else is written with

    record, scoring = parts.updater.record, parts.updater.scoring
    facts = read_facts(parts.state)
    report = {
        "agent": VERSION,
        "python": platform.python_version(),
        "device": parts.settings.device,
        "boot_id": parts.boot_id,
        "up_s": round(parts.clock.utc_s() - parts.started_utc_s, 1),
        "update": {
            "state": record.state.value,
            "running": str(scoring.bundle) if scoring is not None else None,
            "variant": scoring.variant if scoring is not None else None,
            "previous": str(record.previous.bundle) if record.previous is not None else None,
            "refused": [f"{r.bundle} under {r.order_id}: {r.reason[:_MAX_REASON]}" for r in record.refusals[-5:]],
        },
        "spool": {
            channel.value: {
                "put": counts.put,
                "waiting": counts.waiting,
                "dropped": counts.dropped,
                "merged": counts.merged,
                "expired": counts.expired,
            }
            for channel, counts in parts.spool.counts().items()
        },
        "forwarder": {"sent": sent.sent, "resends": sent.resends},
        "rows": {"scored": recorded.rows_scored, "refused": recorded.rows_refused},
        "source": parts.source.counts(),
        "board": facts.board,
        "architecture": facts.architecture,
        "runtimes": list(facts.runtimes),
        "free_disk_bytes": facts.free_disk_bytes,
    }
    return json.dumps(report)


def _stand_in(parts: Parts) -> StandIn | None:
    record, scoring, slot = parts.updater.record, parts.updater.scoring, parts.updater.scoring_slot
    active = record.active
    if scoring is None or slot is None or active is None or record.state not in {State.IDLE, State.SHADOW}:
        return None
    if slot == record.roles.active:
        return None
    return StandIn(str(scoring.bundle), scoring.variant, slot, str(active.bundle))
