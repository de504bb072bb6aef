"""The commands ``fieldloop fleet``, without ``init``."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from broker.commands.options import (
    DEFAULT_FOLDER,
    FolderOption,
    JsonOption,
    PassphraseOption,
    day_of,
    minute_of,
    open_fleet,
    opened_register,
    print_json,
    read_passphrase,
    utc_s,
    write_order,
)
from broker.identity.names import IdentityError

fleet_app = typer.Typer(no_args_is_help=True, help="Make a fleet's authority, and run where devices enrol.")
enrolment_app = typer.Typer(no_args_is_help=True, help="Where devices enrol and renew.")
fleet_app.add_typer(enrolment_app, name="enrolment")


@fleet_app.command("server")
def fleet_server(
    folder: FolderOption = DEFAULT_FOLDER,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--broker-host",
            "--host",
            help="Name or address of the server as devices reach it; repeatable; default: as before.",
        ),
    ] = None,
) -> None:
    """Give broker and enrolment endpoint a new key and certificate; restart or reload both afterwards."""
    fleet = open_fleet(folder)
    hosts = tuple(host) if host else fleet.about.hosts
    ends_s = fleet.renew_server(hosts, utc_s(), lambda detail: write_order(fleet, "server certificate", "", detail))
    typer.echo(f"wrote {fleet.server_chain} and its key: good until {day_of(ends_s)}")


@fleet_app.command("intermediate")
def fleet_intermediate(
    root_key: Annotated[Path, typer.Option("--root-key", help="The root's key, brought from where it is kept.")],
    folder: FolderOption = DEFAULT_FOLDER,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Sign a new intermediate by the root, once in years; then `fieldloop fleet server`."""
    fleet = open_fleet(folder)
    passphrase = read_passphrase(passphrase_file, is_new=False)
    fleet.renew_intermediate(
        root_key, passphrase, utc_s(), lambda detail: write_order(fleet, "intermediate", "", detail)
    )
    typer.echo(f"wrote {fleet.intermediate} and its key; now: fieldloop fleet server")


@fleet_app.command("status")
def fleet_status(folder: FolderOption = DEFAULT_FOLDER, *, as_json: JsonOption = False) -> None:
    """Tell until when the certificates of the server side are good, and what enrolment refused."""
    from broker.identity.certificates import dates_of

    fleet = open_fleet(folder)
    ends = {path.name: dates_of(path.read_bytes())[1] for path in (fleet.ca, fleet.intermediate, fleet.server_chain)}
    with opened_register(fleet) as register:
        refusals, view = register.refusals(), register.view()
    if as_json:
        print_json(
            {
                "fleet": fleet.fleet,
                "certificates": ends,
                "active": len(view.active),
                "revoked": list(view.revoked),
                "refusals": {each.kind: each.count for each in refusals},
                "root_key_is_here": fleet.root_key.exists(),
                "unsealed_keys": [str(key) for key in fleet.unsealed_keys()],
            }
        )
        return
    typer.echo(f"fleet {fleet.fleet}: {len(view.active)} identities hold, {len(view.revoked)} are revoked or rotated")
    for name, ends_s in ends.items():
        typer.echo(f"  {name:18} good until {day_of(ends_s)}")
    for each in refusals:
        typer.echo(
            f"  refused {each.count:6} × {each.kind}, last {minute_of(each.last_utc_s)} from {each.last_address}"
        )
    if fleet.root_key.exists():
        typer.echo(
            f"  {fleet.offline} is still here: carry it away; only `fleet intermediate` and a new root of the "
            "repository need it"
        )
    for key in fleet.unsealed_keys():
        typer.echo(f"  {key} is not encrypted: fieldloop repository root encrypt --root-keys-folder {key.parent}")


@enrolment_app.callback()
def _enrolment() -> None:
    """Keep `up` a command of its own."""


@enrolment_app.command("up")
def enrolment_up(
    folder: FolderOption = DEFAULT_FOLDER,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 or :: for all.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: the fleet's; 0 picks a free one.")
    ] = None,
    device_days: Annotated[float, typer.Option(min=0.001, help="How long a device's certificate is good.")] = 30.0,
    grace_days: Annotated[
        float, typer.Option(min=0, help="How long after its end a certificate may still be renewed.")
    ] = 90.0,
    *,
    as_json: JsonOption = False,
) -> None:
    """Let devices enrol and renew until Ctrl-C."""
    import signal
    import threading

    from broker.enrolment.decisions import EnrolmentRules
    from broker.enrolment.server import EnrolmentServer

    fleet = open_fleet(folder)
    wanted = fleet.about.enrolment_port if port is None else port
    try:
        server = EnrolmentServer(
            fleet,
            (host, wanted),
            utc_s=utc_s,
            monotonic_s=time.monotonic,  # noqa: TID251
            rules=EnrolmentRules(device_days, grace_days),
        )
    except OSError as error:
        raise IdentityError(
            f"cannot listen on {host}:{wanted}: {error.strerror or error}; --host and --port take others"
        ) from error
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    serving = threading.Thread(target=server.serve_forever, name="enrolment", daemon=True)
    serving.start()
    if as_json:
        print_json({"host": host, "port": server.port, "fleet": fleet.fleet})
    else:
        typer.echo(f"fleet {fleet.fleet}: devices enrol at https://{fleet.about.hosts[0]}:{server.port}; Ctrl-C ends")
    sys.stdout.flush()
    ended.wait()
    server.shutdown()
    server.server_close()
