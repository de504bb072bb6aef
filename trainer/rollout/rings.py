"""Gives each device its place in every rollout: a stable hash, so that rings need no list. Pure."""

import hashlib
from collections.abc import Iterable, Sequence

from broker.topics import DeviceId


def place_of(device: DeviceId) -> float:
    """Return the device's place in [0, 1): the first 8 bytes of BLAKE2b over its name, as a fraction."""
    digest = hashlib.blake2b(device.encode(), digest_size=8, person=b"rollout").digest()
    # 53 bits, so that the fraction is exact and never rounds up to 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def ring_of(place: float, shares: Sequence[float]) -> int:
    """Return the first ring whose share reaches a place; shares grow, and the last is 1."""
    for ring, share in enumerate(shares):
        if place < share:
            return ring
    return len(shares) - 1


def assign_rings(devices: Iterable[DeviceId], shares: Sequence[float]) -> tuple[tuple[DeviceId, ...], ...]:
    """Return the devices of each ring, by place; the device with the lowest place is always in the first ring.

    Args:
        devices: of the fleet.
        shares: growing shares of the fleet, the last is 1.
    """
    ordered = sorted(set(devices), key=lambda device: (place_of(device), device))
    rings: list[list[DeviceId]] = [[] for _ in shares]
    for index, device in enumerate(ordered):
        rings[0 if index == 0 else ring_of(place_of(device), shares)].append(device)
    return tuple(tuple(ring) for ring in rings)
