"""Reads a sensor on a serial line that says ``T=21.4;P=1013.2;V=0.03`` once a second: a source for Fieldloop's agent.

Only the standard library: a serial device is a file with settings. With pyserial it is
``serial.Serial(device, baud, timeout=5)`` in place of `_open`.
"""

import os
import select
import termios
import tty
from collections.abc import Iterator, Mapping

# What the device calls a value, and what the model calls it.
NAMES = {"T": "temperature", "P": "pressure", "V": "vibration"}
SILENCE_S = 5.0
MAX_LINE_BYTES = 256


def open_rows(options: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield a row a line; raise OSError when the device is gone or silent: the agent calls again after a pause."""
    descriptor = _open(str(options["device"]), int(str(options.get("baud", 9600))))
    try:
        for line in _lines(descriptor):
            fields = dict(field.partition("=")[::2] for field in line.split(";"))
            # A value that the device did not send is missing; one that is no number is refused, and counted.
            yield {name: fields.get(short) for short, name in NAMES.items()}
    finally:
        os.close(descriptor)


def _open(device: str, baud: int) -> int:
    descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        tty.setraw(descriptor)
        settings = termios.tcgetattr(descriptor)
        settings[4] = settings[5] = getattr(termios, f"B{baud}")
        termios.tcsetattr(descriptor, termios.TCSANOW, settings)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lines(descriptor: int) -> Iterator[str]:
    rest = b""
    while select.select([descriptor], [], [], SILENCE_S)[0]:
        chunk = os.read(descriptor, 1024)
        if not chunk:
            raise ConnectionError("the serial device is gone")
        *lines, rest = (rest + chunk).split(b"\n")
        # Noise without a line end is not collected for ever.
        rest = rest[-MAX_LINE_BYTES:]
        for line in lines:
            if line.strip():
                yield line.strip().decode("ascii", errors="replace")
    raise TimeoutError(f"the serial device was silent for {SILENCE_S:g} s")
