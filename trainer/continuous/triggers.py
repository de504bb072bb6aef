"""What starts a production run beside a confirmed loss: a schedule, and enough new labelled rows. Pure.

A trigger is due when it happened since the last run began. However many came meanwhile, while a run went on or nobody
looked, they are due together and are one run.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim
from msgspec import Struct

from trainer.project.triggers import TriggersSection

Trigger = Literal["schedule", "labels"]


class Due(Struct, frozen=True):
    """A run is due.

    Attributes:
        trigger: the first of them.
        reason: all of them, for people.
    """

    trigger: Trigger
    reason: str


def times_after(section: TriggersSection, utc_s: float) -> Iterator[float]:
    """Return the times of the schedule after a moment, UTC seconds; none without a schedule."""
    if section.schedule is None:
        return
    for time in CronSim(section.schedule, datetime.fromtimestamp(utc_s, ZoneInfo(section.timezone))):
        yield time.timestamp()


def find_due(section: TriggersSection, *, since_utc_s: float, now_utc_s: float, labels: int) -> Due | None:
    """Return the run that is due, or None.

    Args:
        section: what the project says.
        since_utc_s: when the last run began; before the first, when somebody began to look.
        now_utc_s: the present.
        labels: labelled rows that came since then.
    """
    found: list[tuple[Trigger, str]] = []
    time = next(times_after(section, since_utc_s), None)
    if time is not None and time <= now_utc_s:
        found.append(("schedule", f"the schedule {section.schedule} said so at {minute_of(time, section)}"))
    if section.new_labels and labels >= section.new_labels:
        found.append(("labels", f"{labels} labelled rows came since the last run, {section.new_labels} are enough"))
    if not found:
        return None
    return Due(found[0][0], "; ".join(reason for _, reason in found))


def minute_of(utc_s: float, section: TriggersSection) -> str:
    """Write a moment for people, in the time zone of the schedule."""
    return f"{datetime.fromtimestamp(utc_s, ZoneInfo(section.timezone)):%Y-%m-%d %H:%M %Z}"
