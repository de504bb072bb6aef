"""How far a device may be from the original on a golden row."""

from typing import Final

from exporter.proof.parity import Parity

# A floor for what other processors round differently, and a multiple of what was measured here; by whether it is
# quantised. The floors are relative to `Parity.scale`.
_FLOORS: Final = {False: 1e-5, True: 1e-2}
_FACTORS: Final = {False: 4.0, True: 2.0}


def tolerance_of(parity: Parity, *, is_quantised: bool) -> float:
    """Return the greatest difference that a golden row may show on a device with the library that was compared.

    float32: 4 times what was measured, at least 1e-5; int8: twice what was measured, at least 1e-2; the floors are
    relative to the spread of the values for regression.
    """
    floor = _FLOORS[is_quantised] * parity.scale
    return max(floor, _FACTORS[is_quantised] * parity.max_abs_difference)
