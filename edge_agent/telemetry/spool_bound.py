"""Keeps a spool within its bytes, by the rule of `edge_agent.telemetry.thinning`, and counts what it gives up."""

from typing import Final

from broker.messages import encode_body
from broker.topics import Channel
from edge_agent.telemetry.bodies import parse_window
from edge_agent.telemetry.spool_file import RECORD_OVERHEAD_BYTES, SpoolFile
from edge_agent.telemetry.thinning import Drop, Entry, Merge, plan_thinning
from edge_agent.telemetry.window import merge_windows

LOW_WATER: Final = 15 / 16


def thin(file: SpoolFile, max_bytes: int) -> None:
    """Thin down to `LOW_WATER` of a bound, so that it is not every `put` of a full spool that has to."""
    if file.number("bytes") <= max_bytes:
        return
    offered = file.number("offered")
    while steps := plan_thinning(_entries(file), offered):
        for step in steps:
            if file.number("bytes") <= max_bytes * LOW_WATER:
                return
            if isinstance(step, Drop):
                _drop(file, step.sequence)
            else:
                _merge(file, step)


def _entries(file: SpoolFile) -> list[Entry]:
    rows = file.fetch('SELECT sequence, channel, "group", parts FROM record ORDER BY sequence')
    return [Entry(sequence, Channel(channel), group, parts) for sequence, channel, group, parts in rows]


def _drop(file: SpoolFile, sequence: int) -> None:
    ((channel, size_bytes),) = file.fetch("SELECT channel, length(body) FROM record WHERE sequence = ?", (sequence,))
    file.database.execute("DELETE FROM record WHERE sequence = ?", (sequence,))
    file.add(f"dropped.{channel}", 1)
    file.add("bytes", -size_bytes - RECORD_OVERHEAD_BYTES)


def _merge(file: SpoolFile, step: Merge) -> None:
    (first, first_parts), (second, second_parts) = file.fetch(
        "SELECT body, parts FROM record WHERE sequence IN (?, ?) ORDER BY sequence", (step.first, step.second)
    )
    body = encode_body(merge_windows([parse_window(bytes(first)), parse_window(bytes(second))]))
    file.database.execute(
        "UPDATE record SET body = ?, parts = ? WHERE sequence = ?", (body, first_parts + second_parts, step.first)
    )
    file.database.execute("DELETE FROM record WHERE sequence = ?", (step.second,))
    file.add(f"merged.{Channel.TELEMETRY.value}", 1)
    file.add("bytes", len(body) - len(first) - len(second) - RECORD_OVERHEAD_BYTES)
