"""What contradicts itself in a project whose features come from views of the feature store: ``data.view``."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from trainer.project.project import Project


def view_problems(project: Project) -> list[str]:
    """List it; whether the store has such views is known where it is read."""
    data = project.data
    if not data.views:
        problems = [] if data.path or data.labels is not None else ["missing required field `data.path`"]
        return problems + [
            f"key 'data.{key}': is for rows that get their features from a view; name it in 'data.view'"
            for key in ("labels", "zone", "epoch")
            if getattr(data, key) is not None
        ]
    problems = []
    if bool(data.path) == (data.labels is not None):
        problems.append(
            "key 'data.view': the labelled rows are in files ('data.path', with keys, time and target) or in a view "
            "('data.labels'); name one of the two"
        )
    if data.path and data.timestamp is None:
        problems.append("key 'data.view' needs the key 'data.timestamp', the column of the labelled rows' times")
    if data.labels is not None and ":" in data.labels:
        problems.append(f"key 'data.labels': {data.labels!r} is a feature; name its view, and it in 'target.column'")
    if data.labels is not None and (data.zone is not None or data.epoch is not None):
        problems.append("key 'data.zone': the view of labels says itself what its times mean; take zone and epoch out")
    odd = [name for name in data.views if not all(name.split(":")) or name.count(":") > 1]
    if odd:
        problems.append(f"key 'data.view': {odd[0]!r} is neither VIEW nor VIEW:FEATURE")
    twice = sorted({name for name in data.views if data.views.count(name) > 1})
    if twice:
        problems.append(f"key 'data.view': {twice[0]!r} is listed twice")
    if project.signal is not None:
        problems.append("key 'data.view': windows are made of a file's readings; take 'signal' or 'data.view' out")
    return problems + _zone_problems(data.zone)


def _zone_problems(zone: str | None) -> list[str]:
    if zone is not None:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return [f"key 'data.zone': there is no time zone {zone!r}; write one as 'Europe/Zurich' or 'UTC'"]
    return []
