"""The gates of a variant: pure decisions over what was measured. A refusal says which gate, and by how much.

float32 variants are judged row by row, quantised ones by their quality. The *measured* loss decides, not the end of its
interval: original and variant are judged on the same rows, and with few rows an interval is wider than any bound worth
setting, so that it would refuse what is right. The interval is told beside it, and said to be wide where it is.
"""

from typing import Final

from exporter.proof.cost import Latency
from exporter.proof.intervals import Estimate
from exporter.proof.parity import CLOSE, Parity
from exporter.proof.units import figure_and_limit, size_text, time_text

# A float32 variant may differ far from the original on this share of rows at most.
MAX_FAR_SHARE: Final = 0.01
# What is exactly at its limit must not be judged by the last bit of a difference.
_ROUNDING: Final = 1e-9


def parity_refusal(parity: Parity, *, is_quantised: bool, loss: float, max_loss: float) -> str:
    """Return why a variant is refused on one runtime, or an empty string.

    Args:
        parity: from `exporter.proof.parity.compare`.
        is_quantised: quantised variants are judged by their quality, float32 ones row by row.
        loss: quality of the original minus that of the variant.
        max_loss: greatest loss that is allowed.
    """
    if parity.not_numbers:
        return f"{parity.not_numbers} of {parity.rows} rows are answered with something that is not a number"
    if not is_quantised and parity.label_flips:
        return f"{parity.label_flips} of {parity.rows} rows get another label than from the original"
    if not is_quantised and parity.far_rows > MAX_FAR_SHARE * parity.rows:
        share = f"{parity.far_rows} of {parity.rows} rows"
        return f"{share} differ by more than {CLOSE * parity.scale:.3g}, by up to {parity.max_abs_difference:.3g}"
    if loss > max_loss + _ROUNDING:
        return f"it loses {loss:.4f} of quality, at most {max_loss:g} is allowed"
    return ""


def cost_refusal(size_bytes: int, latency: Latency, *, max_size_bytes: int, max_latency_us: float | None) -> str:
    """Return why a variant costs too much, or an empty string."""
    if size_bytes > max_size_bytes:
        size, limit = figure_and_limit(size_bytes, max_size_bytes, size_text)
        return f"its file has {size}, at most {limit} are allowed"
    if max_latency_us is not None and latency.median_us > max_latency_us:
        time, limit = figure_and_limit(latency.median_us, max_latency_us, time_text)
        return f"one row takes {time}, at most {limit} are allowed"
    return ""


def doubt_of(loss: Estimate, max_loss: float) -> str:
    """Return what the interval of an accepted loss leaves open, or an empty string."""
    if loss.high <= max_loss + _ROUNDING:
        return ""
    return f"with other rows it might lose up to {loss.high:.4f}, more than {max_loss:g}: more rows would tell"
