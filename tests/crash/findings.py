"""Compares what a device did with what it may do; every function gives the list of what must not be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from broker.messages import BundleRef, Desired, TelemetryWindow
from edge_agent.update.record import Record
from edge_agent.update.states import State
from tests.crash.recorded_agent import read_spool
from tests.crash.witness import DEVICE, Witness


@dataclass(frozen=True)
class Finding:
    """Something that must not be.

    Attributes:
        kind: ``not back``, ``lost``, ``twice``, ``wrong bundle``, ``damaged``, ``answers``.
    """

    kind: str
    told: str


def lower_than_told(witness: Witness, record: Record | None) -> list[Finding]:
    """Find what the device told as committed, and does not know of any more."""
    told = len({event.order_id for event in witness.events(DEVICE, "committed")})
    known = record.commits if record is not None else 0
    return [Finding("wrong bundle", f"{told} commits were told, the record knows {known}")] if told > known else []


def lost_records(promised: Mapping[tuple[int, int], str], witness: Witness, state: Path) -> list[Finding]:
    """Find records that `put` had returned from, and neither the receiver nor the spool has."""
    stored = {(key.epoch, key.sequence): hashed for key, hashed in witness.hashes.items()}
    held = dict(read_spool(state / "spool.db")) if (state / "spool.db").exists() else {}
    return [
        Finding("lost", f"record {name}, which `put` had returned from")
        for name, hashed in promised.items()
        if stored.get(name) != hashed and held.get(name[1]) != hashed
    ]


def rows_that_do_not_fit(witness: Witness) -> list[Finding]:
    """Find rows that no window counts, and rows that two of them count."""
    rows = [row for window in witness.windows(DEVICE) for row in range(window.first_row, window.last_row + 1)]
    findings = [Finding("lost", "rows in no window")] if set(rows) != set(range(len(set(rows)))) else []
    return findings + ([Finding("twice", "rows in two windows")] if len(rows) != len(set(rows)) else [])


def wrong_bundles(windows: list[TelemetryWindow], record: Record | None, order: Desired | None) -> list[Finding]:
    """Find what scored after the cut and was neither committed, nor on trial, nor ordered."""
    allowed: set[BundleRef] = {order.bundle} if order is not None else set()
    if record is not None:
        contents = [record.active, record.previous]
        contents += [record.candidate] if record.state in {State.STAGED, State.TRIAL} else []
        allowed |= {content.bundle for content in contents if content is not None}
    scored = {window.bundle for window in windows}
    if order is None or not scored - allowed:
        return []
    return [Finding("wrong bundle", f"{', '.join(map(str, scored - allowed))} scored")]


def answers_that_do_not_fit(path: Path, windows: list[TelemetryWindow]) -> list[Finding]:
    """Compare the last answer to each row with the bundle whose window counts it."""
    if not path.exists():
        return [Finding("answers", "no file")] if windows else []
    answers: dict[int, str] = {}
    for line in path.read_bytes().splitlines():
        try:
            answer = msgspec.json.decode(line, type=dict[str, str | int | float | None])
        except msgspec.DecodeError:
            return [Finding("answers", f"a torn line: {line[:80]!r}")]
        answers[int(answer["row"] or 0)] = str(answer["bundle"])
    wrong = [
        row
        for window in windows
        for row in range(window.first_row, window.last_row + 1)
        if answers.get(row) != str(window.bundle)
    ]
    return [Finding("answers", f"rows without the answer that was counted: {json.dumps(wrong[:10])}")] if wrong else []
