"""Chooses a broker for this machine's loopback and starts it, in a process of its own that dies with its parent.

An installed Mosquitto; else one that is unpacked without root, where apt is at hand; else amqtt. None of them knows who
is who, so loopback is all they listen on.
"""

import contextlib
import importlib.util
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Final, Literal

from broker.client import Endpoint
from broker.errors import BrokerStartError
from broker.servers import mosquitto
from broker.servers.loopback import verify_loopback
from broker.servers.process import LOG_NAME, LocalBroker, PortTakenError, start_broker_process
from broker.servers.unpacked import cache_folder, find_unpacked, unpack_mosquitto

__all__ = ["HOST", "LOG_NAME", "Kind", "LocalBroker", "pick_free_port", "start_local_broker", "verify_local"]

logger = logging.getLogger(__name__)

Kind = Literal["mosquitto", "unpacked", "amqtt"]

HOST: Final = "127.0.0.1"

_PORT_TRIES = 8
_AMQTT_READY = rb"embedded broker listens"


def start_local_broker(
    folder: Path,
    *,
    port: int | None = None,
    kind: Literal["auto", "mosquitto", "unpacked", "amqtt"] = "auto",
    cache: Path | None = None,
) -> LocalBroker:
    """Start a broker on loopback and return once it accepts clients.

    Call it from a thread that lives as long as the broker is needed (the main thread): Linux counts a parent as dead
    when the thread that started the child ends.

    Args:
        folder: for its configuration, log and state; made when missing. Mosquitto finds retained messages there again.
        port: where to listen; None or 0 picks a free one.
        kind: ``auto`` takes a Mosquitto that is installed, else one that it unpacks, else amqtt.
        cache: where an unpacked Mosquitto is kept; None: the user's cache folder.

    Raises:
        BrokerStartError: it did not come up; the message carries the last lines of its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cache = cache_folder() if cache is None else cache
    if kind != "auto":
        return _start_kind(folder.absolute(), port, kind, cache)
    wanted: tuple[Kind, ...] = ("mosquitto", "unpacked") if mosquitto.find_mosquitto() else ("unpacked",)
    for candidate in wanted:
        try:
            return _start_kind(folder.absolute(), port, candidate, cache)
        except PortTakenError:
            raise
        except BrokerStartError as error:
            level = logging.INFO if candidate == "unpacked" else logging.WARNING
            logger.log(level, "no broker of kind %s, the next one is tried: %s", candidate, error)
    return _start_kind(folder.absolute(), port, "amqtt", cache)


def verify_local(host: str | None) -> None:
    """Raise BrokerStartError unless `HOST` is what is asked for, with the reason; None asks for nothing.

    Of the loopback addresses this one is enough, and every program knows it.
    """
    if host is not None:
        verify_loopback(host)
        if host != HOST:
            raise BrokerStartError(f"the local broker listens on {HOST}, not on {host}")


def pick_free_port() -> int:
    """Return a loopback port that is free now; another program may still take it before it is used."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        number: int = probe.getsockname()[1]
        return number


def _start_kind(folder: Path, port: int | None, kind: Kind, cache: Path) -> LocalBroker:
    if port:
        return _start_once(folder, port, kind, cache)
    for _ in range(_PORT_TRIES - 1):
        with contextlib.suppress(PortTakenError):
            return _start_once(folder, pick_free_port(), kind, cache)
    return _start_once(folder, pick_free_port(), kind, cache)


def _start_once(folder: Path, port: int, kind: Kind, cache: Path) -> LocalBroker:
    environment: dict[str, str] | None = None
    ready = mosquitto.READY_PATTERN
    if kind == "amqtt":
        command, ready = _amqtt_command(port), _AMQTT_READY
    elif kind == "unpacked":
        unpacked = find_unpacked(cache) or unpack_mosquitto(cache)
        command, environment = _mosquitto_command(unpacked.program, folder, port), unpacked.environment(os.environ)
    else:
        program = mosquitto.find_mosquitto()
        if program is None:
            raise BrokerStartError("no mosquitto is installed: `apt-get install mosquitto`, or use the kind amqtt")
        command = _mosquitto_command(program, folder, port)
    return start_broker_process(
        command, ready, endpoint=Endpoint(HOST, port), kind=kind, folder=folder, environment=environment
    )


def _mosquitto_command(program: Path, folder: Path, port: int) -> list[str]:
    config = folder / mosquitto.CONFIG_NAME
    config.write_text(mosquitto.render_config(folder, port, is_root=os.getuid() == 0), encoding="utf-8")
    return [str(program), "-c", str(config)]


def _amqtt_command(port: int) -> list[str]:
    if importlib.util.find_spec("amqtt") is None:
        raise BrokerStartError("amqtt is not installed: `pip install 'fieldloop[trainer]'`, or install mosquitto")
    # -P: a folder named broker in the working directory must not stand in for ours.
    return [sys.executable, "-P", "-m", "broker.servers.embedded", "--host", HOST, "--port", str(port)]
