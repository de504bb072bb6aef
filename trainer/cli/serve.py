"""The command ``fieldloop serve``: a version of the registry, or a bundle, by the Open Inference Protocol."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.feature_places import OnlineOption, StoreOption
from trainer.cli.fleet import BrokerOption
from trainer.cli.link import CaOption, CertOption, KeyOption
from trainer.cli.options import ProjectOption

app = typer.Typer(add_completion=False)


@app.command("serve")
def serve(  # noqa: PLR0913, PLR0917 - typer calls it by name
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="NAME@champion follows the alias; NAME/3 stays. Or champion or 3 of this project's model; or a "
            "bundle: folder, or one in a file.",
        ),
    ] = "champion",
    project: ProjectOption = Path(),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    keys: Annotated[Path | None, typer.Option(help="File of API keys; without it nobody is asked for one.")] = None,
    add_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make an API key, add it to --keys, print it, and end.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Threads that score larger requests.")] = 2,
    look_every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=3600, help="Between two looks at the alias.")
    ] = 2.0,
    max_rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Of one request.")] = 4096,
    max_body_bytes: Annotated[int, typer.Option(min=1024, max=1 << 30, help="Of one request.")] = 4 << 20,
    max_requests: Annotated[int, typer.Option(min=1, max=65536, help="Answered at the same time.")] = 256,
    max_requests_a_key: Annotated[int, typer.Option(min=1, max=65536, help="The same, of one API key.")] = 64,
    look_up: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIEW[:FEATURE]",
            help="Look up features of this view for rows that bring its keys instead; may be repeated.",
        ),
    ] = None,
    store: StoreOption = None,
    online: OnlineOption = None,
    broker: BrokerOption = "127.0.0.1:1883",
    report_as: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Report to the fleet's broker as this device: windows, samples, status; one name each."
        ),
    ] = None,
    fleet: Annotated[str | None, typer.Option(help="Whose device it is; default: the project's fleet.")] = None,
    report_every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=86400, help="Age at which a window is sent, however few.")
    ] = 60.0,
    from_topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Also answer rows of this topic: one message, one JSON row.")
    ] = None,
    to_topic: Annotated[str | None, typer.Option(metavar="TOPIC", help="Where their answers go.")] = None,
    topic_client: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Name at the topics' broker, which keeps what comes while it is away."),
    ] = None,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    *,
    is_open: Annotated[
        bool, typer.Option("--open", help="Listen beyond loopback without keys: everybody may ask.")
    ] = False,
) -> None:
    """Answer requests of the Open Inference Protocol (REST), until Ctrl-C.

    A promotion is followed within --look-every: the new version is opened and proved on its golden rows beside the one
    that answers, and takes over without a failed request. Pages: /docs, /metrics, /v2/health/ready.
    """
    if add_key is not None:
        _add_key(keys, add_key)
        return
    from edge_agent.clock import SystemClock
    from trainer.cli.model_reference import origin_of
    from trainer.cli.serve_beside import BesideOptions, opened_beside
    from trainer.serving.limits import Limits
    from trainer.serving.server import Listening, run_service

    limits = Limits(
        max_body_bytes=max_body_bytes,
        max_rows=max_rows,
        max_requests=max_requests,
        max_requests_a_key=max_requests_a_key,
    )
    listening = Listening(host, port, is_open=is_open, keys=keys, every_s=look_every, n_workers=workers)
    options = BesideOptions(
        what, project, look_up or (), store, online, broker, ca, cert, key,
        report_as, fleet, report_every, from_topic, to_topic, topic_client,
    )  # fmt: skip
    origin, clock = origin_of(what, project), SystemClock()
    with opened_beside(options, clock) as beside:
        run_service(origin, listening, limits, clock, _tell, beside)


def _tell(model: str, address: str) -> None:
    typer.echo(f"serving {model} at {address}/v2 (page: {address}/docs; Ctrl-C ends it)")
    sys.stdout.flush()


def _add_key(keys: Path | None, name: str) -> None:
    import secrets

    from trainer.serving.keys import add_key

    if keys is None:
        raise typer.BadParameter("--add-key needs --keys FILE, where the hash of the key is kept")
    key = add_key(keys, name, secrets.token_urlsafe)
    typer.echo(f"key of {name}, shown this once; {keys} holds its hash alone:", err=True)
    typer.echo(key)
