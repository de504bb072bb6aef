"""Reads zstd frames, with what is there for it: the standard library (3.14), its backport, or zstandard (Debian).

A device without any of them fetches whole files. What a frame says of its length is looked at before anything is
allocated for it.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Final

# (frame, length that its content must have, raw dictionary or None) to content.
Decoder = Callable[[bytes, int, bytes | None], bytes]


class FrameError(Exception):
    """It is no frame of this length and dictionary."""


def find_decoder() -> Decoder | None:
    """Return what reads frames on this device, None where nothing does; a decoder raises FrameError."""
    for name, adapt in _ADAPTERS:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        return adapt(module)
    return None


def _adapt_standard(zstd: ModuleType) -> Decoder:
    def decode(frame: bytes, length: int, base: bytes | None) -> bytes:
        try:
            _verify_told(zstd.get_frame_info(frame).decompressed_size, length)
            # As prefix: raw content, whatever it begins with.
            dictionary = None if base is None else zstd.ZstdDict(base, is_raw=True).as_prefix
            decoder = zstd.ZstdDecompressor(zstd_dict=dictionary)
            # One more than it may have, so that a frame that lies about its length is seen.
            content: bytes = decoder.decompress(frame, max_length=length + 1)
        except (zstd.ZstdError, ValueError) as error:
            raise FrameError(str(error)) from error
        if not decoder.eof or decoder.unused_data:
            raise FrameError("the frame is cut off, or more follows it")
        return _of_length(content, length)

    return decode


def _adapt_zstandard(zstandard: ModuleType) -> Decoder:
    def decode(frame: bytes, length: int, base: bytes | None) -> bytes:
        try:
            _verify_told(zstandard.get_frame_parameters(frame).content_size, length)
            raw = zstandard.DICT_TYPE_RAWCONTENT
            dictionary = None if base is None else zstandard.ZstdCompressionDict(base, dict_type=raw)
            content: bytes = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(frame, max_output_size=length)
        except (zstandard.ZstdError, ValueError) as error:
            raise FrameError(str(error)) from error
        return _of_length(content, length)

    return decode


_ADAPTERS: Final[tuple[tuple[str, Callable[[ModuleType], Decoder]], ...]] = (
    ("compression.zstd", _adapt_standard),
    ("backports.zstd", _adapt_standard),
    ("zstandard", _adapt_zstandard),
)


def _verify_told(told: int | None, length: int) -> None:
    if told != length:
        raise FrameError(f"the frame tells a length of {told} bytes, {length} are listed")


def _of_length(content: bytes, length: int) -> bytes:
    if len(content) != length:
        raise FrameError(f"the frame held {len(content)} bytes, {length} are listed")
    return content
