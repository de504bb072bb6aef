"""What else than a loss starts a production run: the section ``[triggers]``."""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from msgspec import Meta

from trainer.project.section import Section


class TriggersSection(Section, frozen=True, kw_only=True):
    """What starts a production run beside a confirmed loss and a person.

    Attributes:
        schedule: when, in the five fields of cron (minute, hour, day, month, day of the week); None: never by time.
        timezone: of the schedule, as the IANA calls it: ``Europe/Berlin``.
        new_labels: labelled rows of the fleet, and of views of labels, that came since the last run began; 0: however
            many.
    """

    schedule: str | None = None
    timezone: str = "UTC"
    new_labels: Annotated[int, Meta(ge=0)] = 0


def trigger_problems(section: TriggersSection) -> list[str]:
    """List what is wrong in the section: a schedule that cron would not take or that never comes, an unknown zone."""
    problems = []
    try:
        ZoneInfo(section.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        problems.append(f"key 'triggers.timezone': {section.timezone!r} is no time zone; write it like 'Europe/Berlin'")
    if section.schedule is not None:
        try:
            next(CronSim(section.schedule, datetime(2026, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration) as error:
            why = str(error) or "it never comes"
            problems.append(
                f"key 'triggers.schedule': {section.schedule!r} is no time of cron ({why}); "
                "every Monday at three is '0 3 * * 1'"
            )
    return problems
