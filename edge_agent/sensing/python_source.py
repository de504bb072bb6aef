"""Takes rows from the user's own sensor code: a function that yields rows, run in a thread of its own.

``def factory(options) -> Iterator[row]``, where a row is a mapping of feature names to values, or a sequence in the
manifest's order. Where rows come faster than they are scored, the function is not asked for the next one. When it
raises, that is told, and it is called again after a pause that doubles up to `MAX_REST_S`: a bus may come back. When
it returns, no row will come any more.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from edge_agent.sensing.inlet import Inlet
from edge_agent.sensing.plugin import Options
from edge_agent.surprises import Surprises

logger = logging.getLogger(__name__)

REST_S: Final = 0.5
MAX_REST_S: Final = 60.0

_WAIT_S: Final = 1.0
_JOIN_S: Final = 0.2
# Numbers of other libraries become floats; what is no number at all raises.
_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=float)
# What no row can be, so it is refused and counted as malformed.
_UNREADABLE: Final = _ENCODER.encode(None)

SensorRow = Mapping[str, object] | Sequence[object]
Factory = Callable[[Options], Iterable[SensorRow]]


class PythonRows:
    """The thread of one sensor.

    Attributes:
        failures: how often the sensor's code raised.
    """

    def __init__(self, factory: Factory, options: Options, inlet: Inlet, name: str, rest_s: float = REST_S) -> None:
        """Prepare it; ``name`` stands in what is logged, ``rest_s`` is the pause after a first failure."""
        self.failures = 0
        self._factory = factory
        self._options = options
        self._inlet = inlet
        self._name = name
        self._rest_s = rest_s
        self._surprises = Surprises(logger)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sensor", daemon=True)

    def start(self) -> None:
        """Let the sensor's code run."""
        self._thread.start()

    def close(self) -> None:
        """End it; code that waits for its device is not waited for."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        rest_s = self._rest_s
        while not self._closing.is_set():
            taken_in = self._inlet.taken_in
            try:
                self._read()
            except Exception as error:  # noqa: BLE001 - code of the user: whatever it raises is told, and tried again
                self.failures += 1
                self._surprises.tell(f"reading {self._name}", error)
                # Rows came: what broke is new.
                rest_s = self._rest_s if self._inlet.taken_in > taken_in else min(2 * rest_s, MAX_REST_S)
                self._closing.wait(rest_s)
            else:
                if not self._closing.is_set():
                    logger.info("%s has ended", self._name)
                    self._inlet.finish()
                return

    def _read(self) -> None:
        rows = self._factory(self._options)
        try:
            for row in rows:
                payload = [_payload_of(row)]
                while self._inlet.offer(payload, _WAIT_S) is None and not self._closing.is_set():
                    pass
                if self._closing.is_set():
                    return
        finally:
            close = getattr(rows, "close", None)
            if close is not None:
                # A generator: so its `finally` gives the device back.
                with contextlib.suppress(Exception):
                    close()


def _payload_of(row: SensorRow) -> bytes:
    """Return a row as `parse_packed_row` reads it; what is no row becomes one that is refused and counted."""
    if isinstance(row, str | bytes) or not isinstance(row, Mapping | Sequence):
        return _UNREADABLE
    try:
        return _ENCODER.encode(dict(row) if isinstance(row, Mapping) else list(row))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _UNREADABLE
