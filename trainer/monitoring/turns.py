"""Lets devices take turns when more waits than one transaction takes: one with a backlog holds up no other.

What one device said stays in its order; between devices there is none to keep. One thread uses it.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from broker.topics import DeviceId

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits, by device."""

    def __init__(self, share: int) -> None:
        """Start with nothing.

        Args:
            share: of one batch that one device has at most.
        """
        self._share = share
        self._waiting: OrderedDict[DeviceId, deque[T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._size

    def add(self, items: Iterable[tuple[DeviceId, T]]) -> None:
        """Have items wait, each behind those of its device."""
        for device, item in items:
            known = self._waiting.get(device)
            if known is None:
                known = self._waiting[device] = deque()
            known.append(item)
            self._size += 1

    def take(self, most: int) -> list[T]:
        """Return so many at most: a share of each device that waits, those first that waited for longest."""
        batch: list[T] = []
        for _ in range(len(self._waiting)):
            if len(batch) >= most:
                break
            device, own = self._waiting.popitem(last=False)
            n_taken = min(self._share, len(own), most - len(batch))
            batch.extend(own.popleft() for _ in range(n_taken))
            if own:
                self._waiting[device] = own
        self._size -= len(batch)
        return batch
