"""The commands ``fieldloop agent``."""

from pathlib import Path
from typing import Annotated

import typer

from exporter.failures import exit_codes
from exporter.image.claims import FleetOption, claim_of
from exporter.image.customise.cli import CardOption, ClaimOption, DeviceOption, PackageOption, load_packages

app = typer.Typer(no_args_is_help=True, help="Put the agent onto boards that run.")


@app.callback()
def _agent() -> None:
    """Put the agent onto boards that run."""


@app.command("install")
def install_command(  # noqa: PLR0913 - typer calls it by name
    ctx: typer.Context,
    board: Annotated[str, typer.Argument(help="ssh://pi@host, ssh://pi@host:2222, or a name of your ~/.ssh/config.")],
    *,
    card: CardOption = Path("card.toml"),
    device: DeviceOption = None,
    claim: ClaimOption = None,
    fleet: FleetOption = None,
    package: PackageOption = None,
    wait_s: Annotated[
        int, typer.Option("--wait", min=5, max=3600, help="The agent must be well within so many s.")
    ] = 60,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look at the board, and say what would be done.")] = False,
    accept_new_host_key: Annotated[
        bool, typer.Option("--accept-new-host-key", help="Believe a board that was never seen; never one that changed.")
    ] = False,
    ask_sudo_password: Annotated[
        bool, typer.Option("--ask-sudo-password", help="Ask here for what sudo asks there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Install the agent on a board over your own ssh, or bring it up to date, and wait until it is well."""
    with exit_codes():
        import msgspec

        from exporter.image.disks import size_text
        from exporter.image.over_ssh.connection import connect
        from exporter.image.over_ssh.installing import Asked, install, prepare
        from exporter.image.over_ssh.target import parse_target

        target = parse_target(board)
        password = typer.prompt("Password of sudo there", hide_input=True, err=True) if ask_sudo_password else None
        steps: list[str] = []

        def tell(line: str) -> None:
            steps.append(line)
            if not as_json:
                typer.echo(f"  {line}")

        # Looking at a board puts nothing down in its fleet.
        with (
            claim_of(ctx, claim, None if dry_run else fleet, device) as token,
            connect(target, accepts_new_host_key=accept_new_host_key) as connection,
        ):
            prepared = prepare(connection, Asked(card, load_packages(package), device, token, password, wait_s))
            plan = prepared.plan
            if not as_json:
                instead = f", instead of {plan.before}" if plan.before else ""
                typer.echo(f"{target}: {plan.board}, {plan.system} ({plan.architecture})")
                typer.echo(f"  {'would install' if dry_run else 'installs'} fieldloop-agent {plan.version}{instead}")
                typer.echo(f"  as {plan.device}; {size_text(plan.sent_bytes)} are sent")
            if not dry_run:
                install(connection, prepared, tell)
        if as_json:
            facts = {**msgspec.to_builtins(plan), "steps": steps, "done": not dry_run}
            typer.echo(msgspec.json.encode(facts).decode())
