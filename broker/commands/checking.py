"""The command ``fieldloop broker check``: proves on a running broker what the wire relies on."""

import json
import random
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import typer

from broker.errors import BrokerError, LinkError
from broker.tls import open_tls
from broker.topics import DeviceId, parse_fleet

if TYPE_CHECKING:
    from broker.client import Endpoint
    from broker.servers.probes import Feature

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


def check(
    url: Annotated[str, typer.Argument(metavar="URL", help="mqtt://HOST:PORT, or mqtts://HOST:PORT with TLS.")],
    ca: Annotated[Path | None, typer.Option(help="Certificate of the authority that signed the broker's.")] = None,
    cert: Annotated[Path | None, typer.Option(help="Certificate of a trainer, where the broker asks for one.")] = None,
    key: Annotated[Path | None, typer.Option(help="Key of that certificate.")] = None,
    fleet: Annotated[
        str, typer.Option(help="Whose topics are tried; a device that does not exist is named.")
    ] = "check",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Prove on a running broker each thing that the wire relies on; fails when a required one is missing."""
    from broker.servers.probes import Need, Probe, check_broker

    try:
        endpoint, with_tls = _endpoint(url)
        tls, anonymous = _contexts(ca, cert, key) if with_tls else (None, None)
        device = DeviceId(f"check-{random.SystemRandom().getrandbits(48):012x}")
        features = check_broker(Probe(endpoint, parse_fleet(fleet), device, tls, anonymous))
    except BrokerError as error:
        typer.echo(f"fieldloop: {error}", err=True)
        raise typer.Exit(1) from error
    missing = [feature.name for feature in features if not feature.holds and feature.need is Need.REQUIRED]
    if as_json:
        typer.echo(json.dumps({"url": url, "suits": not missing, "features": [_facts(f) for f in features]}))
    else:
        for feature in features:
            typer.echo(_line(feature))
        typer.echo(f"does not suit: {', '.join(missing)}" if missing else "suits: all that is required holds")
    if missing:
        raise typer.Exit(1)


def _line(feature: "Feature") -> str:
    sign = "ok  " if feature.holds else "MISS" if feature.need.value == "required" else "no  "
    without = "" if feature.holds else f"; without it: {feature.without}"
    return f"{sign} {feature.name:<24} {feature.need.value:<10} {feature.found}{without}"


def _facts(feature: "Feature") -> dict[str, object]:
    return {
        "name": feature.name,
        "need": feature.need.value,
        "holds": feature.holds,
        "found": feature.found,
        "without": feature.without,
    }


def _endpoint(url: str) -> "tuple[Endpoint, bool]":
    from broker.client import Endpoint

    parts = urlsplit(url)
    try:
        usual = _PORTS[parts.scheme]
        port = parts.port or usual
    except (KeyError, ValueError) as error:
        raise LinkError(f"{url!r}: write mqtt://HOST:PORT, or mqtts://HOST:PORT with TLS") from error
    if not parts.hostname or parts.path.strip("/") or parts.username is not None:
        raise LinkError(f"{url!r}: write mqtt://HOST:PORT; nothing else stands in it")
    return Endpoint(parts.hostname, port), parts.scheme == "mqtts"


def _contexts(ca: Path | None, cert: Path | None, key: Path | None) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return how this client and one without a certificate connect."""
    if (cert is None) != (key is None):
        raise LinkError("--cert and --key belong together: give both or neither")
    contexts = open_tls(ca, cert, key), open_tls(ca, None, None)
    if cert is not None:
        _verify_role(cert)
    return contexts


def _verify_role(cert: Path) -> None:
    """Refuse a certificate of ours whose rights cannot be enough; one of another authority is tried.

    Raises:
        LinkError: each thing that it may not do would be taken for a feature that the broker lacks.
    """
    from broker.identity.certificates import read_presented
    from broker.identity.names import IdentityError, Role

    try:
        first, end, _ = cert.read_text(encoding="ascii").partition("-----END CERTIFICATE-----")
        identity = read_presented(ssl.PEM_cert_to_DER_cert(first[first.index("-----BEGIN") :] + end)).identity
    except (IdentityError, ValueError):
        return
    if identity.role is not Role.TRAINER:
        raise LinkError(
            f"{cert} is {identity.name}: the check orders and listens, which a trainer may: "
            f"fieldloop person add trainer:check --out DIRECTORY"
        )
