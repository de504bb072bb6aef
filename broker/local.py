"""Starts a broker on this machine's loopback, in an operating-system process of its own that dies with its parent."""

import contextlib
import importlib.util
import logging
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from broker import mosquitto
from broker.client import Endpoint
from broker.errors import BrokerStartError
from broker.orphan_guard import guarded

logger = logging.getLogger(__name__)

Kind = Literal["mosquitto", "amqtt"]

LOG_NAME: Final = "broker.log"
HOST: Final = "127.0.0.1"

_PORT_TRIES = 8
_START_S = 20.0
_LOOK_S = 0.02
_STOP_S = 10.0
_LOG_TAIL_LINES = 12
_PORT_TAKEN = re.compile(rb"address already in use", re.IGNORECASE)
_AMQTT_READY = rb"embedded broker listens"


class _PortTakenError(BrokerStartError):
    """Another program has the port."""


@dataclass(frozen=True, slots=True)
class LocalBroker:
    """A running broker; `stop` it by this handle, or end the process that started it.

    Attributes:
        endpoint: where it listens.
        kind: ``mosquitto`` or ``amqtt``.
        log: what it writes.
    """

    endpoint: Endpoint
    kind: Kind
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End the broker and wait until it is gone; harmless when it is gone already."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            logger.warning("the broker %d did not end within %s s and is killed", self.pid, _STOP_S)
            self.process.kill()
            self.process.wait()


def start_local_broker(
    folder: Path, *, port: int | None = None, kind: Literal["auto", "mosquitto", "amqtt"] = "auto"
) -> LocalBroker:
    """Start a broker on loopback and return once it accepts clients.

    Call it from a thread that lives as long as the broker is needed (the main thread): Linux counts a parent as dead
    when the thread that started the child ends.

    Args:
        folder: for its configuration, log and state; made when missing. Mosquitto finds retained messages there again.
        port: where to listen; None or 0 picks a free one.
        kind: ``auto`` takes a Mosquitto that is installed, else the embedded amqtt.

    Raises:
        BrokerStartError: it did not come up; the message carries the last lines of its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if kind != "auto":
        return _start_kind(folder.absolute(), port, kind)
    if mosquitto.find_mosquitto() is None:
        return _start_kind(folder.absolute(), port, "amqtt")
    try:
        return _start_kind(folder.absolute(), port, "mosquitto")
    except _PortTakenError:
        raise
    except BrokerStartError as error:
        logger.warning("the installed mosquitto does not start, the embedded broker is used: %s", error)
        return _start_kind(folder.absolute(), port, "amqtt")


def pick_free_port() -> int:
    """Return a loopback port that is free now; another program may still take it before it is used."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        number: int = probe.getsockname()[1]
        return number


def _start_kind(folder: Path, port: int | None, kind: Kind) -> LocalBroker:
    if port:
        return _start_once(folder, port, kind)
    for _ in range(_PORT_TRIES - 1):
        with contextlib.suppress(_PortTakenError):
            return _start_once(folder, pick_free_port(), kind)
    return _start_once(folder, pick_free_port(), kind)


def _start_once(folder: Path, port: int, kind: Kind) -> LocalBroker:
    command, ready = _mosquitto_command(folder, port) if kind == "mosquitto" else _amqtt_command(port)
    log = folder / LOG_NAME
    with log.open("ab") as output:
        start = output.tell()
        # A session of its own: Ctrl-C reaches the parent alone, which ends its children in the right order.
        process = subprocess.Popen(
            guarded(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    broker = LocalBroker(Endpoint(HOST, port), kind, log, process)
    try:
        _wait_until_ready(broker, re.compile(ready), start)
    except BaseException:
        broker.stop()
        raise
    return broker


def _wait_until_ready(broker: LocalBroker, ready: re.Pattern[bytes], start: int) -> None:
    # A port that accepts proves nothing: another program may be the one that listens. The broker's own word does.
    written = b""
    for _ in range(int(_START_S / _LOOK_S)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = broker.process.wait(_LOOK_S)
            written = _read_from(broker.log, start)
            error_type = _PortTakenError if _PORT_TAKEN.search(written) else BrokerStartError
            raise error_type(f"{broker.kind} on {broker.endpoint} ended with code {code}:\n{_tail(written)}")
        written = _read_from(broker.log, start)
        if ready.search(written):
            return
    raise BrokerStartError(f"{broker.kind} on {broker.endpoint} is not ready after {_START_S} s:\n{_tail(written)}")


def _mosquitto_command(folder: Path, port: int) -> tuple[list[str], bytes]:
    program = mosquitto.find_mosquitto()
    if program is None:
        raise BrokerStartError("no mosquitto is installed: `apt-get install mosquitto`, or use the kind amqtt")
    config = folder / mosquitto.CONFIG_NAME
    config.write_text(mosquitto.render_config(folder, port, is_root=os.getuid() == 0), encoding="utf-8")
    return [str(program), "-c", str(config)], mosquitto.READY_PATTERN


def _amqtt_command(port: int) -> tuple[list[str], bytes]:
    if importlib.util.find_spec("amqtt") is None:
        raise BrokerStartError("amqtt is not installed: `pip install 'fieldloop[trainer]'`, or install mosquitto")
    # -P: a folder named broker in the working directory must not stand in for ours.
    return [sys.executable, "-P", "-m", "broker.embedded", "--host", HOST, "--port", str(port)], _AMQTT_READY


def _read_from(log: Path, start: int) -> bytes:
    with log.open("rb") as file:
        file.seek(start)
        return file.read()


def _tail(written: bytes) -> str:
    return "\n".join(written.decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
