"""Makes a file smaller for its way to a device: by zstd alone, and with a file that the device has as the dictionary.

Of three ways measured on retrained models (plain, dictionary, bsdiff) zstd was never worse than bsdiff by more than its
cost in code: a dictionary is what a decoder can do anyway.
"""

import sys
from typing import Final

from edge_agent.update.forms import MAX_WINDOW_LOG, MIN_BASE_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL: Final = 19
_MIN_WINDOW_LOG: Final = 10


def compress(data: bytes) -> bytes:
    """Return ``data`` as one zstd frame that tells its length."""
    return zstd.compress(data, options=_options(len(data)))


def make_delta(data: bytes, base: bytes) -> bytes | None:
    """Return ``data`` as one zstd frame with ``base`` as its raw dictionary; None: the base is of no use for that."""
    reach_bytes = len(data) + len(base)
    if (reach_bytes - 1).bit_length() > MAX_WINDOW_LOG or len(base) < MIN_BASE_BYTES:
        return None
    return zstd.compress(data, options=_options(reach_bytes), zstd_dict=zstd.ZstdDict(base, is_raw=True).as_prefix)


def _options(reach_bytes: int) -> dict[int, int]:
    window_log = min(max((reach_bytes - 1).bit_length(), _MIN_WINDOW_LOG), MAX_WINDOW_LOG)
    return {
        zstd.CompressionParameter.compression_level: LEVEL,
        zstd.CompressionParameter.window_log: window_log,
        zstd.CompressionParameter.content_size_flag: True,
    }
