"""The command ``fieldloop audit``: who gave which orders when, and whether the log is as it was written."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.audit import Entry

app = typer.Typer(no_args_is_help=True, add_completion=False)
audit_app = typer.Typer(no_args_is_help=True, help="See which orders were given, by whom and when.")
app.add_typer(audit_app, name="audit")

LogOption = Annotated[Path, typer.Option("--log", help="The audit log.")]
_DEFAULT = Path(".fieldloop") / "audit.jsonl"


@audit_app.command("list")
def list_orders(
    log: LogOption = _DEFAULT,
    device: Annotated[str | None, typer.Option(help="Only orders to this device.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only from this time (UTC) on: 2026-11-26 or 2026-11-26T04:00.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print the orders, the oldest first."""
    from broker.audit import read_log

    if not log.exists():
        typer.echo(f"{log}: there is no log, so no order was given here", err=True)
    begin_utc_s = 0.0 if since is None else _utc_s_of(since)
    wanted = (e for e in read_log(log) if e.at_utc_s >= begin_utc_s and device in {None, e.device})
    for line in _told(wanted):
        typer.echo(json.dumps(_facts(line), ensure_ascii=False) if as_json else _text(line))


@audit_app.command("verify")
def verify(
    log: LogOption = _DEFAULT,
    head: Annotated[
        str | None, typer.Option(help="A hash that was noted earlier; finds also what was taken away at the end.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check that no line was changed, removed or inserted; print the last hash, to be noted elsewhere."""
    from broker.audit import START, AuditError, verify_log

    if not log.exists():
        typer.echo(f"fieldloop: {log}: there is no log; if an order was ever given here, it was taken away", err=True)
        raise typer.Exit(1)
    try:
        last = verify_log(log, head)
    except AuditError as error:
        typer.echo(f"fieldloop: {error}", err=True)
        raise typer.Exit(1) from error
    lines, noted = (last.number, last.hash) if last else (0, START)
    if as_json:
        typer.echo(json.dumps({"lines": lines, "head": noted}))
    else:
        typer.echo(f"{lines} lines, each as it was written; head {noted}")


def _told(entries: "Iterator[Entry]") -> "Iterator[Entry]":
    try:
        yield from entries
    except BrokerError as error:
        sys.stdout.flush()
        typer.echo(f"fieldloop: {error}", err=True)
        raise typer.Exit(1) from error


def _facts(entry: "Entry") -> dict[str, object]:
    import msgspec

    facts: dict[str, object] = msgspec.to_builtins(entry)
    return facts


def _text(entry: "Entry") -> str:
    at = datetime.fromtimestamp(entry.at_utc_s, UTC)
    line = f"{at:%Y-%m-%d %H:%M:%S}  {entry.by:<20}  {entry.what:<20}  {entry.device or '-':<20}  {entry.detail}"
    # What somebody wrote, as a reason or into the file, must not steer a terminal.
    return "".join(character if character.isprintable() else "?" for character in line)


def _utc_s_of(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: write 2026-11-26 or 2026-11-26T04:00", param_hint="--since") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
