"""Tells from a state folder alone what an agent does or did; changes nothing in it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.enrolment.identity_file import read_held
from edge_agent.errors import SpoolError
from edge_agent.live import SPOOL_NAME, Live, read_live
from edge_agent.lock import is_in_use
from edge_agent.settings import AgentSettings
from edge_agent.telemetry.spool import load_counts
from edge_agent.update.record import Record
from edge_agent.update.slots import read_record
from edge_agent.update.states import State

# What a live source turned away, by the word of its counter.
_REFUSALS: Final = {
    "turned_away": "rows turned away",
    "unkept": "rows not kept",
    "refused_connections": "connections refused",
    "refused_requests": "requests refused",
    "cut_links": "links cut because too many rows waited",
}


class Refused(Struct, frozen=True):
    """A bundle that is not tried again under its order."""

    bundle: str
    order_id: str
    reason: str


class Counts(Struct, frozen=True):
    """What became of one channel's records since the spool was made."""

    put: int
    waiting: int
    stored: int
    merged: int
    dropped: int
    expired: int


class Shadow(Struct, frozen=True):
    """A bundle that scores beside the one that counts, or is being fetched for it.

    Attributes:
        variant: None while it is fetched and proved.
        ends_after_rows: compared rows after which it ends; 0: when it is told to.
    """

    bundle: str
    variant: str | None
    ends_after_rows: int


class Certificate(Struct, frozen=True):
    """What this device is known by, where it enrols.

    Attributes:
        until_utc_s: when it ends; None: there is none yet, or none that who asks may read.
    """

    until_utc_s: float | None


class Report(Struct, frozen=True):
    """The state of one agent.

    Attributes:
        running: whether its process is at work now.
        bundle, variant, slot: what scores, or is to score at the next start; None before the first bundle.
        stands_in_for: the committed bundle, while another one scores in its place.
        spool: by channel; empty before the first start.
        live: what the agent wrote about itself last; None before the first start.
        shadow: what scores in the shadow; None: nothing.
        certificate: None: this device does not enrol.
    """

    device: str
    fleet: str
    state_folder: str
    running: bool
    bundle: str | None
    variant: str | None
    slot: str | None
    previous: str | None
    update_state: str
    refused: tuple[Refused, ...]
    spool: dict[str, Counts]
    live: Live | None
    stands_in_for: str | None = None
    shadow: Shadow | None = None
    certificate: Certificate | None = None


def read_report(settings: AgentSettings) -> Report:
    """Read the state folder that the settings name."""
    state = Path(settings.state)
    record = read_record(state)
    running = record.running if record is not None else None
    bundle, variant = (str(running.bundle), running.variant) if running is not None else (None, None)
    slot: str | None = record.running_slot if record is not None else None
    live, is_running, stands_in_for = read_live(state), is_in_use(state), None
    stand_in = live.stand_in if live is not None and is_running else None
    if stand_in is not None and stand_in.in_place_of == bundle:
        # The record names what is committed; what really scores, only the agent can say.
        stands_in_for = bundle
        bundle, variant, slot = stand_in.bundle, stand_in.variant, stand_in.slot
    previous = record.previous if record is not None else None
    refusals = record.refusals if record is not None else ()
    return Report(
        device=settings.device,
        fleet=settings.fleet,
        state_folder=settings.state,
        running=is_running,
        bundle=bundle,
        variant=variant,
        slot=slot,
        previous=str(previous.bundle) if previous is not None else None,
        update_state=(record.state if record is not None else State.IDLE).value,
        refused=tuple(Refused(str(r.bundle), r.order_id, r.reason) for r in refusals),
        spool=_read_spool(state),
        live=live,
        stands_in_for=stands_in_for,
        shadow=_shadow_of(record),
        certificate=None if settings.enrolment is None else _certificate(state),
    )


def _certificate(state: Path) -> Certificate:
    held = read_held(state)
    return Certificate(None if held is None else held.not_after_utc_s)


def as_json(report: Report) -> str:
    """Return a report for machines."""
    return msgspec.json.encode(report).decode()


def as_text(report: Report) -> str:
    """Return a report for people."""
    lines = [
        f"device     {report.device} of fleet {report.fleet}, {'running' if report.running else 'not running'}",
        f"state      {report.state_folder}",
        f"bundle     {report.bundle or 'none yet'}"
        + (f", {report.variant}, slot {report.slot}" if report.bundle else "")
        + (f", in place of {report.stands_in_for}" if report.stands_in_for else ""),
        f"previous   {report.previous or 'none'}",
        f"update     {report.update_state}",
    ]
    if report.shadow is not None:
        lines.append(f"shadow     {_in_words(report.shadow)}")
    if report.certificate is not None:
        until = report.certificate.until_utc_s
        lines.append(f"identity   {'none yet that can be read' if until is None else f'good until {_at(until)}'}")
    lines += [f"refused    {refused.bundle}: {refused.reason}" for refused in report.refused[-3:]]
    lines += [
        f"spool      {channel}: {counts.waiting} waiting, {counts.stored} stored, "
        f"{counts.dropped + counts.expired} dropped"
        for channel, counts in report.spool.items()
    ]
    live = report.live
    if live is None:
        return "\n".join(lines)
    link = "connected" if live.connected and report.running else "not connected"
    lines.append(f"broker     {link}")
    if live.windows:
        lines.append(
            f"rows       {live.rows_scored} scored, {live.rows_refused} refused in {live.windows} "
            f"{'window' if live.windows == 1 else 'windows'} since {_at(live.started_utc_s)}"
        )
    else:
        lines.append(f"rows       none counted since {_at(live.started_utc_s)}: no window has ended yet")
    refused = [f"{n} {_REFUSALS[word]}" for word, n in live.source.items() if n and word in _REFUSALS]
    if refused:
        lines.append(f"source     {', '.join(refused)}")
    if live.last_window is not None:
        window = live.last_window
        latency = "" if window.median_latency_us is None else f", median {window.median_latency_us:g} us"
        lines.append(
            f"window     rows {window.first_row} to {window.last_row}, {window.rows_scored} scored by {window.bundle}"
            f"{latency}, ended {_at(window.ended_utc_s)}"
        )
    return "\n".join(lines)


def _shadow_of(record: Record | None) -> Shadow | None:
    if record is None or record.shadow_rows is None:
        return None
    candidate = record.candidate if record.state is State.SHADOW else None
    if candidate is not None:
        return Shadow(str(candidate.bundle), candidate.variant, record.shadow_rows)
    return None if record.order is None else Shadow(str(record.order.bundle), None, record.shadow_rows)


def _in_words(shadow: Shadow) -> str:
    does = "being fetched and proved" if shadow.variant is None else shadow.variant
    until = f", ends after {shadow.ends_after_rows} rows" if shadow.ends_after_rows else ""
    return f"{shadow.bundle}, {does}{until}"


def _read_spool(state: Path) -> dict[str, Counts]:
    try:
        counts = load_counts(state / SPOOL_NAME)
    except SpoolError:
        return {}
    return {
        channel.value: Counts(c.put, c.waiting, c.stored, c.merged, c.dropped, c.expired)
        for channel, c in sorted(counts.items(), key=lambda item: item[0].value)
    }


def _at(utc_s: float) -> str:
    return datetime.fromtimestamp(utc_s, UTC).isoformat(timespec="seconds")
