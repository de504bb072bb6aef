"""The commands ``fieldloop features materialize|get|stats``: the newest features by key, and how fresh all are."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.feature_places import OnlineOption, StoredOption, StoreOption, online_address, open_feature_store, pull
from trainer.cli.options import JsonOption, ProjectOption, minute_of
from trainer.errors import DataError


def materialize(
    views: Annotated[list[str] | None, typer.Argument(metavar="VIEW…", help="None: all views.")] = None,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    online: OnlineOption = None,
    *,
    stored: StoredOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the newest rows online, what is new of them; one that was killed goes on where it was.

    The sources of the views are read first, as far as they can have changed.
    """
    from edge_agent.clock import SystemClock
    from trainer.features.online.materialise import materialise
    from trainer.features.online.opening import open_online

    opened = open_feature_store(project, store)
    names = views or opened.catalogue.names()
    if not stored:
        pull(opened, names, project)
    target = open_online(online_address(project, online))
    try:
        done = {name: materialise(opened, name, target, SystemClock()) for name in names}
    finally:
        target.close()
    if as_json:
        typer.echo(json.dumps({name: {"rows": each.rows, "resumed": each.resumed} for name, each in done.items()}))
        return
    for name, each in done.items():
        typer.echo(f"{name}: {each.rows} rows{', going on where one had stopped' if each.resumed else ''}")


def get(
    view: Annotated[str, typer.Argument(metavar="VIEW", help="Name of a registered view.")],
    key: Annotated[list[str], typer.Argument(metavar="KEY…", help="One for each key of the view, in its order.")],
    project: ProjectOption = Path(),
    store: StoreOption = None,
    online: OnlineOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Look up the newest features of an entity, as a service does."""
    from edge_agent.clock import SystemClock
    from trainer.features.online.lookup import Lookup
    from trainer.features.online.opening import open_online

    declared = open_feature_store(project, store).catalogue.find(view).view
    if len(key) != len(declared.entities):
        raise typer.BadParameter(f"view {view!r} has the keys {', '.join(declared.keys)}: give each one value")
    target = open_online(online_address(project, online))
    try:
        whole = [_typed(text, entity.dtype) for text, entity in zip(key, declared.entities, strict=True)]
        found = Lookup(target, declared, SystemClock()).find(*whole)
    finally:
        target.close()
    when = None if found.event_utc_s is None else datetime.fromtimestamp(found.event_utc_s, UTC).isoformat()
    if as_json:
        typer.echo(json.dumps({"event_timestamp": when, "valid": found.is_valid, "features": dict(found.values)}))
        return
    if when is None:
        raise DataError(f"view {view!r} has no row online of {', '.join(key)}; fieldloop features materialize {view}")
    typer.echo(f"of {when}{'' if found.is_valid else ': too old, not given out'}")
    for name, value in found.values.items():
        typer.echo(f"{name:24} {'–' if value is None else value}")


def stats(
    views: Annotated[list[str] | None, typer.Argument(metavar="VIEW…", help="None: all views.")] = None,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what each feature holds, and how fresh it is."""
    import msgspec

    from edge_agent.clock import SystemClock
    from trainer.cli.fleet import print_table
    from trainer.features.offline.statistics import view_statistics

    opened = open_feature_store(project, store)
    now_s = SystemClock().utc_s()
    found = [view_statistics(opened, name, now_s) for name in views or opened.catalogue.names()]
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=1))
        return
    for each in found:
        delay = "" if each.delay_s is None else f", known {each.delay_s:g} s after the event (median)"
        typer.echo(f"{each.view}, version {each.version}: {each.rows} rows of {each.entities} entities{delay}")
        rows: list[dict[str, object]] = [
            {
                "feature": feature.feature,
                "missing": feature.missing,
                "distinct": feature.distinct,
                "least": feature.least,
                "mean": feature.mean,
                "greatest": feature.greatest,
                "out_of_range": feature.out_of_range,
                "newest (UTC)": None if feature.newest_utc_s is None else minute_of(feature.newest_utc_s),
                "fresh": feature.fresh,
            }
            for feature in each.features
        ]
        print_table(rows)


def _typed(text: str, dtype: str) -> str | int:
    if dtype == "text":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no whole number, which the key is") from error
