"""The architectures of the package: their names at Debian, at pip, and at the native engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Architecture:
    """One of them.

    Attributes:
        debian: Debian's name.
        engines: the compiled engines that it takes (edge_agent/engine/library.py).
        platforms: pip's names of wheels that run there, best first; empty: msgspec has no wheel, it is compiled.
    """

    debian: str
    engines: tuple[str, ...]
    platforms: tuple[str, ...]


_ALL: Final = (
    Architecture("amd64", ("x86_64",), ("manylinux_2_28_x86_64", "manylinux2014_x86_64")),
    Architecture("arm64", ("aarch64",), ("manylinux_2_28_aarch64", "manylinux2014_aarch64")),
    # Debian's armhf is ARMv7; Raspberry Pi OS gives ARMv6 the same name, so that both engines are in.
    Architecture("armhf", ("armv7", "armv6"), ()),
)
ARCHITECTURES: Final[Mapping[str, Architecture]] = {each.debian: each for each in _ALL}

# Of Debian 12 and 13, and of Ubuntu 24.04 and 26.04.
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
