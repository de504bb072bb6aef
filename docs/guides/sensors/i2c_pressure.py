"""Reads an I2C sensor every ``period_s``: a source for Fieldloop's agent.

The sensor is an imaginary one at address 0x48: three signed 16-bit registers, big-endian. Replace `REGISTERS` by what
your sensor's data sheet says. ``smbus2.SMBus`` speaks to a real bus; ``bus = "module:Class"`` names anything else with
its method ``read_i2c_block_data``, for example a simulated one.
"""

import struct
import threading
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

ADDRESS = 0x48
# Name of the feature: register, and what one step is worth.
REGISTERS = {"temperature": (0x00, 0.0078125), "pressure": (0x02, 0.1), "vibration": (0x04, 0.001)}


def open_rows(options: Mapping[str, object]) -> Iterator[Mapping[str, float]]:
    """Yield a row every ``period_s``; an OSError of the bus goes to the agent, which calls again after a pause."""
    module, _, name = str(options.get("bus", "smbus2:SMBus")).partition(":")
    bus: Any = getattr(import_module(module), name)(int(str(options.get("number", 1))))
    pause = threading.Event()
    try:
        while True:
            yield {feature: _read(bus, register) * step for feature, (register, step) in REGISTERS.items()}
            pause.wait(float(str(options.get("period_s", 1.0))))
    finally:
        bus.close()


def _read(bus: Any, register: int) -> int:  # noqa: ANN401 - any library's bus
    (value,) = struct.unpack(">h", bytes(bus.read_i2c_block_data(ADDRESS, register, 2)))
    return int(value)
