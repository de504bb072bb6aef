"""A simulated I2C bus with the sensor of docs/guides/sensors/i2c_pressure.py on it: same protocol, no wires."""

import struct
from typing import ClassVar


class Bus:
    """Has the methods of ``smbus2.SMBus`` that the example uses; the registers are shared by every opening.

    Attributes:
        registers: raw values by register.
        faults: so many of the next reads fail, as on a bus with a loose contact.
        opened, closed: how often.
    """

    registers: ClassVar[dict[int, int]] = {0x00: 2739, 0x02: 10132, 0x04: -30}
    faults: ClassVar[int] = 0
    opened: ClassVar[int] = 0
    closed: ClassVar[int] = 0

    def __init__(self, number: int) -> None:
        assert number == 1
        type(self).opened += 1

    def read_i2c_block_data(self, address: int, register: int, length: int) -> list[int]:
        """Read two bytes of one register."""
        assert (address, length) == (0x48, 2)
        if type(self).faults:
            type(self).faults -= 1
            raise OSError(121, "Remote I/O error")
        return list(struct.pack(">h", self.registers[register]))

    def close(self) -> None:
        """Give the bus back."""
        type(self).closed += 1
