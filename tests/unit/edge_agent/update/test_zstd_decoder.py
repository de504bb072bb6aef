import importlib
import random
import sys
from types import ModuleType

import pytest

from edge_agent.update.zstd_decoder import _ADAPTERS, Decoder, FrameError, find_decoder
from exporter.repository.delta import compress, make_delta

BASE = random.Random(2).randbytes(30_000)
DATA = BASE[:10_000] + b"inserted" + BASE[10_000:]


@pytest.fixture(params=[name for name, _ in _ADAPTERS])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    """Each decoder that is installed here."""
    try:
        module = importlib.import_module(request.param)
    except ImportError:
        pytest.skip(f"no {request.param} here")
    return dict(_ADAPTERS)[request.param](module)


def test_a_frame_is_read(decoder: Decoder):
    assert decoder(compress(DATA), len(DATA), None) == DATA


def test_a_difference_is_read_with_its_base(decoder: Decoder):
    delta = make_delta(DATA, BASE)
    assert delta is not None
    assert len(delta) < 200
    assert decoder(delta, len(DATA), BASE) == DATA


def test_a_base_that_looks_like_a_dictionary_of_zstds_own_is_raw_all_the_same(decoder: Decoder):
    base = b"\x37\xa4\x30\xec" + BASE
    delta = make_delta(DATA, base)
    assert delta is not None
    assert decoder(delta, len(DATA), base) == DATA


@pytest.mark.parametrize("frame", [b"", b"\x28", b"\x28\xb5\x2f\xfd", b"nonsense" * 4, compress(DATA)[:-1]])
def test_what_is_no_frame_or_is_cut_off_is_refused(decoder: Decoder, frame: bytes):
    with pytest.raises(FrameError):
        decoder(frame, len(DATA), None)


def test_a_difference_without_its_base_is_refused(decoder: Decoder):
    delta = make_delta(DATA, BASE)
    assert delta is not None
    for base in (None, b"", b"too short"):
        with pytest.raises(FrameError):
            decoder(delta, len(DATA), base)


def test_a_bomb_is_refused_by_what_it_says_of_its_length(decoder: Decoder):
    bomb = compress(bytes(100 << 20))
    assert len(bomb) < 20_000
    with pytest.raises(FrameError, match="tells a length of 104857600 bytes, 1000 are listed"):
        decoder(bomb, 1000, None)


def test_a_bomb_that_lies_of_its_length_is_refused(decoder: Decoder):
    frame = compress(bytes(70_000))
    lie = frame.replace((70_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"), 1)
    assert lie != frame
    with pytest.raises(FrameError):
        decoder(lie, 1000, None)


def test_a_frame_that_does_not_tell_its_length_is_refused(decoder: Decoder):
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    stream = zstd.ZstdCompressor()
    frame = stream.compress(DATA) + stream.flush()
    with pytest.raises(FrameError, match="tells a length"):
        decoder(frame, len(DATA), None)


def test_a_device_may_have_no_decoder(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert find_decoder() is None
