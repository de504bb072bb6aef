"""The commands ``fieldloop broker`` and ``fieldloop wire``."""

import contextlib
import json
import signal
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from broker.commands import checking, serving
from broker.errors import BrokerError, BrokerStartError, LinkError
from broker.topics import Channel, parse_fleet

if TYPE_CHECKING:
    from broker.servers.process import LocalBroker

_LOCAL_PORT: Final = 1883

app = typer.Typer(no_args_is_help=True, add_completion=False)
broker_app = typer.Typer(no_args_is_help=True, help="Run an MQTT broker on this machine.")
wire_app = typer.Typer(no_args_is_help=True, help="Look at what travels between devices and the trainer.")
app.add_typer(broker_app, name="broker")
app.add_typer(wire_app, name="wire")


class BrokerKind(StrEnum):
    """Which broker to run."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    UNPACKED = "unpacked"
    AMQTT = "amqtt"


@broker_app.callback()
def _broker() -> None:
    """Run an MQTT broker on this machine."""


@broker_app.command("up")
def up(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 picks a free one; default: 1883, or the fleet's.")
    ] = None,
    kind: Annotated[
        BrokerKind, typer.Option(help="auto: Mosquitto that is installed, else one unpacked without root, else amqtt.")
    ] = BrokerKind.AUTO,
    folder: Annotated[
        Path | None, typer.Option(help="Keeps configuration, log and retained messages; default: a temporary one.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; without --fleet, loopback only.")] = None,
    fleet: serving.FleetFolderOption = None,
    nats: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=HOST[:PORT]", help="With --fleet: a node of a NATS cluster on this machine; thrice."
        ),
    ] = None,
    *,
    exact: serving.ExactOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a sentence, one object a node.")
    ] = False,
) -> None:
    """Start a broker, print where it listens, and run it until Ctrl-C.

    Without --fleet it listens on loopback only, and anybody on this machine may use it. With --fleet it is a Mosquitto,
    or with --nats a cluster, that lets in who has a certificate of the fleet, and follows the fleet's identities while
    it runs.
    """
    # SIGTERM ends it as Ctrl-C does, so that the broker is stopped and the temporary folder goes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as closing:
        try:
            if nats is not None:
                running = _start_nats(closing, fleet, folder, nats, others=(port, host, exact or None))
            elif fleet is not None:
                running = serving.start(closing, fleet, folder, host=host, port=port, exact=exact)
            else:
                running = _start_local(closing, folder, host=host, port=port, kind=kind)
            for broker in running.brokers:
                _say(broker, as_json=as_json)
            code = running.wait()
        except BrokerError as error:
            typer.echo(f"fieldloop: {error}", err=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            return
    typer.echo(f"fieldloop: the broker ended by itself with code {code}; see {running.brokers[0].log}", err=True)
    raise typer.Exit(1)


broker_app.command("render")(serving.render)
broker_app.command("check")(checking.check)


def _start_nats(
    closing: contextlib.ExitStack,
    fleet: Path | None,
    folder: Path | None,
    nodes: list[str],
    *,
    others: tuple[int | str | bool | None, ...],
) -> serving.Running:
    if fleet is None or any(other is not None for other in others):
        raise BrokerStartError("--nats needs --fleet, and each node says its own host and port: NAME=HOST:PORT")
    return serving.start_nats(closing, fleet, folder, nodes)


def _start_local(
    closing: contextlib.ExitStack, folder: Path | None, *, host: str | None, port: int | None, kind: BrokerKind
) -> serving.Running:
    from broker.servers.local import start_local_broker, verify_local

    verify_local(host)
    place = folder or Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="fieldloop-broker-")))
    broker = start_local_broker(place, port=_LOCAL_PORT if port is None else port, kind=kind.value)
    closing.callback(broker.stop)
    return serving.Running((broker,), broker.process.wait)


def _say(broker: "LocalBroker", *, as_json: bool) -> None:
    if as_json:
        facts = {"host": broker.endpoint.host, "port": broker.endpoint.port, "kind": broker.kind, "pid": broker.pid}
        typer.echo(json.dumps(facts | {"log": str(broker.log)}))
    else:
        typer.echo(f"{broker.kind} listens on {broker.endpoint}, process {broker.pid}; Ctrl-C ends it")
    sys.stdout.flush()


@wire_app.command("decode")
def decode(
    channel: Annotated[Channel, typer.Argument(help="The last level of the topic it was captured on.")],
    file: Annotated[Path, typer.Argument(help="The payload as captured; - reads it from standard input.")],
    *,
    compact: Annotated[bool, typer.Option("--json", help="One line instead of an indented text.")] = False,
) -> None:
    """Print a captured payload as JSON with the names of its fields."""
    from broker.messages import MAX_BYTES
    from broker.readable import decode_payload

    try:
        readable = decode_payload(channel, _read_payload(file, MAX_BYTES[channel] + 1))
    except OSError as error:
        typer.echo(f"fieldloop: {file} cannot be read: {error.strerror or error}", err=True)
        raise typer.Exit(1) from error
    except BrokerError as error:
        typer.echo(f"fieldloop: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(readable, indent=None if compact else 2, ensure_ascii=False))


def _read_payload(file: Path, most_bytes: int) -> bytes:
    """Read a payload, and of what is longer than any no more than shows it."""
    if str(file) == "-":
        return sys.stdin.buffer.read(most_bytes)
    with file.open("rb") as opened:
        return opened.read(most_bytes)


def _verify_tls_options(broker: str, ca: Path | None, certificate: Path | None, key: Path | None) -> None:
    """Refuse a certificate without a root: it would be shown to nobody, over a link that hides nothing."""
    if ca is None and (certificate is not None or key is not None):
        raise LinkError("--cert and --key belong to a link by TLS: name the fleet's root, too, by --ca")
    if ca is None and broker.startswith("mqtts:"):
        raise LinkError(f"{broker}: TLS needs the fleet's root, by which the broker is known: --ca")
    if ca is not None and broker.startswith("mqtt:"):
        raise LinkError(f"{broker}: --ca is for a link by TLS: write mqtts://")


@wire_app.command("watch")
def watch(  # noqa: PLR0913, PLR0917 - options of a command
    broker: Annotated[str, typer.Argument(help="HOST:PORT of the broker; mqtts://HOST:PORT is understood, too.")],
    fleet: Annotated[str, typer.Option(help="The fleet whose traffic is shown.")] = "main",
    channel: Annotated[list[Channel] | None, typer.Option(help="Only this channel; may be given again.")] = None,
    device: Annotated[str, typer.Option(help="Only devices whose name fits; * and ? as in a shell.")] = "*",
    contains: Annotated[str, typer.Option(help="Only lines with this text in them.")] = "",
    count: Annotated[int, typer.Option(min=0, help="End after so many lines; 0: never.")] = 0,
    ca: Annotated[Path | None, typer.Option(help="Certificate of the fleet's authority: the link is by TLS.")] = None,
    certificate: Annotated[
        Path | None, typer.Option("--cert", "--certificate", help="Certificate of who watches.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with every field.")] = False,
) -> None:
    """Show what travels in a fleet, as it comes, until Ctrl-C; what the broker retains comes first."""
    from broker.tls import open_tls
    from broker.watching import Wanted, WatchError, parse_endpoint
    from broker.watching import watch as watch_fleet

    try:
        _verify_tls_options(broker, ca, certificate, key)
        lines = watch_fleet(
            parse_endpoint(broker),
            parse_fleet(fleet),
            Wanted(frozenset(channel or ()), device, contains),
            tls=None if ca is None else open_tls(ca, certificate, key),
            as_json=as_json,
            on_link=lambda is_up: typer.echo("watching" if is_up else "the link is lost, trying again", err=True),
        )
    except (BrokerError, WatchError, OSError) as error:
        typer.echo(f"fieldloop: {error}", err=True)
        raise typer.Exit(1) from error
    try:
        for shown, line in enumerate(lines, start=1):
            typer.echo(line)
            if shown == count:
                return
    except KeyboardInterrupt:
        return
    finally:
        lines.close()
