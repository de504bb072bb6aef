"""Words of the table's cells: bounds instead of numbers, so that they stay when another machine rounds otherwise.

A bound is a power of ten with room above what was measured, and stays as it is documented as long as it holds and is
not far too wide.
"""

import math
import re
from typing import Final

from tests.integration.exporter.coverage.measuring import Cell

REFUSED: Final = "–"
# Of the measured difference, before it is rounded up to a power of ten.
_ROOM: Final = 3.0
_LEAST_EXPONENT: Final = -6
# A documented bound so many powers of ten above a new one is far too wide.
_SLACK: Final = 2
_SHARES: Final = (99, 98, 95, 90, 80, 70, 60, 50, 0)
_BOUND: Final = re.compile(r"≤ (1e-\d|\d+)(?:, ≥ (\d+) %)?")


def text_of(cell: Cell, documented: str, *, decides: bool) -> str:
    """Return what stands in a cell.

    Args:
        cell: what was measured.
        documented: what stands there now; empty if there is none.
        decides: whether the model decides something, so that int8 may decide otherwise.
    """
    if cell.outcome == "refused":
        return REFUSED
    if cell.outcome == "wrong":
        return "wrong"
    found = _BOUND.search(documented)
    bound = _kept_bound(cell.difference, found[1] if found else "")
    if cell.outcome == "exact":
        return f"≤ {bound}"
    share = _kept_share(cell.agreement, int(found[2]) if found and found[2] else None)
    return f"int8 ≤ {bound}, ≥ {share} %" if decides else f"int8 ≤ {bound}"


def _kept_bound(difference: float, documented: str) -> str:
    exponent = _exponent_of(difference * _ROOM)
    if documented:
        known = round(math.log10(float(documented)))
        if difference <= 10.0**known and known - exponent <= _SLACK:
            exponent = known
    return f"1e{exponent}" if exponent < 0 else f"{10**exponent}"


def _exponent_of(value: float) -> int:
    return max(math.ceil(math.log10(max(value, 1e-300))), _LEAST_EXPONENT)


def _kept_share(agreement: float, documented: int | None) -> int:
    percent = 100.0 * agreement
    new = next(share for share in _SHARES if share <= max(percent - 0.5, 0.0))
    if documented in _SHARES and documented <= percent and _SHARES.index(documented) - _SHARES.index(new) <= _SLACK:
        return documented
    return new
