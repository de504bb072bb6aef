"""How often one address may ask, and be wrong: a bounded table of budgets that fill up again with time.

Being wrong costs more than asking: whoever guesses tokens is silenced after a few, while a hall of devices behind one
address enrols. The table is bounded; what was asked longest ago is forgotten first.
"""

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_ADDRESSES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Budget:
    """So many at once, and so many a minute in the long run."""

    burst: float
    per_minute: float


REQUESTS: Final = Budget(120, 60)
FAILURES: Final = Budget(5, 2)
# All addresses together: many machines that guess at once.
ALL_FAILURES: Final = Budget(200, 60)


class Limits:
    """The budgets of all addresses. Any thread may ask."""

    def __init__(
        self,
        requests: Budget = REQUESTS,
        failures: Budget = FAILURES,
        all_failures: Budget = ALL_FAILURES,
        max_addresses: int = MAX_ADDRESSES,
    ) -> None:
        self._requests = _Table(requests, max_addresses)
        self._failures = _Table(failures, max_addresses)
        self._all_failures = _Table(all_failures, 1)
        self._lock = threading.Lock()

    def may_ask(self, address: str, now_s: float) -> bool:
        """Take one request from an address's budget; False where there is none left, or it was wrong too often."""
        key = key_of(address)
        with self._lock:
            return self._failures.left(key, now_s) >= 1 and self._requests.take(key, now_s)

    def was_wrong(self, address: str, now_s: float) -> bool:
        """Take one failure from the budgets; False when all addresses together are wrong too often."""
        with self._lock:
            self._failures.take(key_of(address), now_s)
            return self._all_failures.take("", now_s)


class _Table:
    def __init__(self, budget: Budget, size: int) -> None:
        self._budget = budget
        self._size = size
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, key: str, now_s: float) -> float:
        left, at_s = self._left.get(key, (self._budget.burst, now_s))
        return min(self._budget.burst, left + max(0.0, now_s - at_s) * self._budget.per_minute / 60)

    def take(self, key: str, now_s: float) -> bool:
        left = self.left(key, now_s)
        is_there = left >= 1
        self._left[key] = (left - 1 if is_there else left, now_s)
        self._left.move_to_end(key)
        if len(self._left) > self._size:
            self._left.popitem(last=False)
        return is_there


def key_of(address: str) -> str:
    """Return whose budget an address uses: of IPv6 the network of 64 bits, of which one machine has all."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        mapped = ip.ipv4_mapped
        return str(mapped) if mapped is not None else str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
