"""A broker in a process of its own, which dies with its parent: started, waited for until it serves, ended.

Start it from a thread that lives as long as the broker is needed (the main thread): Linux counts a parent as dead when
the thread that started the child ends.
"""

import contextlib
import logging
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.client import Endpoint
from broker.errors import BrokerStartError
from broker.servers.orphan_guard import guarded

logger = logging.getLogger(__name__)

LOG_NAME: Final = "broker.log"

_START_S = 20.0
_LOOK_S = 0.02
_STOP_S = 10.0
_LOG_TAIL_LINES = 12
_PORT_TAKEN = re.compile(rb"address already in use", re.IGNORECASE)


class PortTakenError(BrokerStartError):
    """Another program has the port."""


@dataclass(frozen=True, slots=True)
class LocalBroker:
    """A running broker on this machine; `stop` it by this handle, or end the process that started it.

    Attributes:
        endpoint: where it listens.
        kind: ``mosquitto``, ``unpacked`` (a Mosquitto too) or ``amqtt``.
        log: what it writes.
    """

    endpoint: Endpoint
    kind: str
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


def start_broker_process(
    command: Sequence[str],
    ready: bytes,
    *,
    endpoint: Endpoint,
    kind: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> LocalBroker:
    """Start a broker and return once it says that it serves.

    Args:
        command: the program and its arguments.
        ready: pattern of the line by which it says so.
        endpoint: where it will listen.
        kind: what to call it.
        folder: where it runs and its log is appended to.
        environment: of the process; None: ours.

    Raises:
        PortTakenError: another program has the port.
        BrokerStartError: it did not come up; the message carries the last lines of its log.
    """
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
            env=environment,
            start_new_session=True,
        )
    broker = LocalBroker(endpoint, kind, log, process)
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
            error_type = PortTakenError if _PORT_TAKEN.search(written) else BrokerStartError
            raise error_type(f"{broker.kind} on {broker.endpoint} ended with code {code}:\n{_tail(written)}")
        written = _read_from(broker.log, start)
        if ready.search(written):
            return
    raise BrokerStartError(f"{broker.kind} on {broker.endpoint} is not ready after {_START_S} s:\n{_tail(written)}")


def _read_from(log: Path, start: int) -> bytes:
    with log.open("rb") as file:
        file.seek(start)
        return file.read()


def _tail(written: bytes) -> str:
    return "\n".join(written.decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
