"""The codec in C does what Python describes, to the bit, and is missed by nobody where it is not built."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker import packs
from broker.codec import tables
from broker.codec.loading import Codec, load_codec
from broker.entropy import DamagedStreamError
from broker.errors import WireError
from broker.messages import (
    BundleRef,
    FeatureCounts,
    RecordKey,
    Resources,
    TelemetryWindow,
    encode_body,
    encode_record,
)
from broker.pack_form import write_records
from broker.packs import PACK_VERSION, pack_with, read_whole_with, read_with, unpack_with
from broker.topics import Channel
from tests.conftest import REPOSITORY
from tests.unit.broker.test_packs import changing, keyed, steady
from tests.unit.broker.wire_examples import PACK, file_of

GOLDEN = file_of(2, Channel.TELEMETRY)
RUNS = {
    "the example": list(PACK),
    "an hour of change": keyed(changing(1)),
    "an hour of nothing": keyed(steady()),
    "more and fewer features": keyed(
        [
            msgspec.structs.replace(window, features=window.features[:n])
            for window, n in zip(changing(2), (3, 1, 0, 5, 64, 2), strict=True)
        ]
    ),
    "great counts": keyed(
        [
            msgspec.structs.replace(
                window, rows_scored=2**31, features=(FeatureCounts((2**31 - 5 + n, 5, 7 * n, 2**20)),)
            )
            for n, window in enumerate(changing(3)[:4])
        ]
    ),
    "odd times and warm boards": keyed(
        [
            msgspec.structs.replace(
                window,
                started_utc_s=0.1 + n / 7,
                ended_utc_s=-3.5,
                resources=Resources(1 + n, 1 / 3, 4096 * n, (40.0, -0.0, 0.0)[n], (None, True, False)[n]),
            )
            for n, window in enumerate(changing(4)[:3])
        ]
    ),
}


@pytest.fixture(scope="module")
def codec() -> Codec:
    loaded = load_codec()
    if loaded is None:
        pytest.skip("the codec is not built here: python -m edge_agent.engine.compile")
    return loaded


@pytest.mark.parametrize("name", RUNS)
def test_the_codec_packs_and_unpacks_as_python_does_to_the_bit(codec: Codec, name: str):
    records = RUNS[name]
    payloads = [encode_record(key, encode_body(window)) for key, window in records]
    in_python = bytes([PACK_VERSION]) + write_records(records)
    assert codec.pack(payloads) == in_python
    assert codec.unpack(in_python) == payloads == unpack_with(None, in_python)
    assert read_with(codec, in_python) == read_with(None, in_python) == records
    assert read_whole_with(codec, in_python) == read_whole_with(None, in_python)
    assert [payload for *_, payload in read_whole_with(codec, in_python)] == payloads


# Each is beyond one limit of version 1 and within all that a pack can say.
BEYOND: dict[str, dict[str, object]] = {
    "no name": {"bundle": BundleRef("", 1)},
    "a long name": {"bundle": BundleRef("é" * 65, 1)},
    "no version": {"bundle": BundleRef("m", 0)},
    "a great version": {"bundle": BundleRef("m", 2**31 + 1)},
    "a long variant": {"variant": "v" * 129},
    "a time before all": {"started_utc_s": -1.5e12},
    "no time": {"ended_utc_s": math.nan},
    "many refused rows": {"rows_refused": (("why", 2**53 + 1),)},
    "a long reason": {"errors": (("w" * 129, 1),)},
    "many missing rows": {"features": (FeatureCounts((600,), 2**53 + 1),)},
    "many rows out of range": {"features": (FeatureCounts((600,), 0, 2**53 + 1),)},
    "time that runs back": {"resources": Resources(1, -0.5, 1)},
    "endless time": {"resources": Resources(1, math.inf, 1)},
    "a cold board": {"resources": Resources(1, 1.0, 1, -274.0)},
    "a warm board": {"resources": Resources(1, 1.0, 1, math.nan)},
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_version_1_refuses_the_codec_refuses_in_a_pack_and_as_a_payload(codec: Codec, name: str):
    records = keyed([msgspec.structs.replace(PACK[0][1], **BEYOND[name])])
    packed = bytes([PACK_VERSION]) + write_records(records)
    with pytest.raises(WireError):
        read_with(None, packed)
    for refused in (lambda: codec.unpack(packed), lambda: read_with(codec, packed)):
        with pytest.raises((ValueError, DamagedStreamError), match=r"none|nobody|beyond"):
            refused()
    with pytest.raises(ValueError, match=r"none|nobody|beyond|no window"):
        codec.pack([encode_record(key, encode_body(window)) for key, window in records])


def test_every_text_that_is_none_is_refused_by_the_codec(codec: Codec):
    """Cut, overlong, halves of pairs, and beyond all characters; the shortest and longest of each size are texts."""
    for wrong in (
        b"\x80",
        b"\xc1\x81",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
    ):
        with pytest.raises(ValueError, match="name"):
            codec.pack([_named(wrong)])
    for right in ("", "\x7f\x80", "\u07ff\u0800", "\ud7ff\ue000", "\uffff\U00010000", "\U0010ffff"):
        (payload,) = codec.unpack(codec.pack([_named(right.encode())]))
        assert payload == _named(right.encode())


def _named(variant: bytes) -> bytes:
    (key, window), *_ = keyed(changing(7)[:1])
    payload = encode_record(key, encode_body(msgspec.structs.replace(window, variant="V" * len(variant))))
    return payload.replace(b"V" * len(variant), variant) if variant else payload


def test_the_codec_reads_the_pack_that_was_kept(codec: Codec):
    kept = GOLDEN.read_bytes()
    assert codec.unpack(kept) == unpack_with(None, kept)
    assert codec.pack(codec.unpack(kept)) == kept


def test_a_pack_cut_at_any_byte_is_refused_by_the_codec(codec: Codec):
    kept = GOLDEN.read_bytes()
    for length in range(len(kept)):
        with pytest.raises(ValueError, match=r"stream|pack|count|bins|rows|record|text"):
            codec.unpack(kept[:length])


def test_numbers_that_the_codec_cannot_hold_are_left_to_python(codec: Codec):
    window = msgspec.structs.replace(changing(5)[0], features=(FeatureCounts((2**40, 3, 2**39)),), rows_scored=2**41)
    records = keyed([window, window])
    payloads = [encode_record(key, encode_body(each)) for key, each in records]
    with pytest.raises(OverflowError):
        codec.pack(payloads)
    packed = pack_with(codec, payloads)
    with pytest.raises(OverflowError):
        codec.unpack(packed)
    assert unpack_with(codec, packed) == payloads


def test_the_codec_refuses_what_is_no_list_of_bytes(codec: Codec):
    for wrong in ((), [1], ["text"], None):
        with pytest.raises(TypeError):
            codec.pack(wrong)  # type: ignore[arg-type]
    for n in (0, 17):
        with pytest.raises(ValueError, match="from 1 to 16"):
            codec.pack([b"\x01"] * n)
    with pytest.raises(ValueError, match="no window"):
        codec.pack([b""])


def test_a_call_that_comes_in_between_has_memory_of_its_own(codec: Codec):
    """To make an object may run a garbage collection, and that anything; here it is told to."""
    kept, other = GOLDEN.read_bytes(), codec.pack([encode_record(*_encoded(each)) for each in keyed(changing(8))])

    def feature(*parts: Any) -> FeatureCounts:
        assert len(codec.unpack(other)) == 6
        return FeatureCounts(*parts)

    makers: Any = (RecordKey, BundleRef, feature, Resources, TelemetryWindow)
    assert codec.read(kept, makers) == read_with(None, kept)


def _encoded(record: tuple[RecordKey, TelemetryWindow]) -> tuple[RecordKey, bytes]:
    return record[0], encode_body(record[1])


@pytest.mark.parametrize("place", range(5))
def test_what_a_maker_raises_comes_through_and_the_codec_goes_on(codec: Codec, place: int):
    def fail(*_: object) -> None:
        raise LookupError("not made")

    kept = GOLDEN.read_bytes()
    makers: list[Any] = [RecordKey, BundleRef, FeatureCounts, Resources, TelemetryWindow]
    for read in (codec.read, codec.read_whole):
        with pytest.raises(LookupError, match="not made"):
            read(kept, (*makers[:place], fail, *makers[place + 1 :]))
    assert codec.read(kept, tuple(makers)) == read_with(None, kept)


def test_the_codec_refuses_to_read_with_what_are_no_makers(codec: Codec):
    for wrong in ((), (b"\x02",), (b"\x02", [RecordKey] * 5), (b"\x02", (RecordKey,) * 4), ("text", (RecordKey,) * 5)):
        with pytest.raises(TypeError):
            codec.read(*wrong)


def test_records_that_do_not_follow_each_other_are_not_packed_by_the_codec(codec: Codec):
    one, other = (encode_body(window) for window in changing(6)[:2])
    for second in (RecordKey(2, 2, 1), RecordKey(1, 3, 2), RecordKey(1, 1, 1)):
        with pytest.raises(ValueError, match="follow"):
            codec.pack([encode_record(RecordKey(1, 1, 0), one), encode_record(second, other)])


def test_without_a_codec_python_does_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packs, "codec_of_this_machine", lambda: None)
    kept = GOLDEN.read_bytes()
    assert packs.pack_payloads(packs.unpack(Channel.TELEMETRY, kept)) == kept
    with pytest.raises(DamagedStreamError):
        unpack_with(None, kept[:-2])


def test_a_library_that_cannot_be_loaded_is_none(tmp_path: Path):
    broken = tmp_path / "fieldloop_codec.so"
    broken.write_bytes(b"\x7fELF of another world")
    assert load_codec(broken) is None


def test_the_tables_in_c_are_those_of_the_description():
    assert tables.FILE.read_text(encoding="ascii") == tables.render_tables(), "run: python -m broker.codec.tables"


def test_packs_are_read_without_ctypes_and_without_a_temporary_file():
    program = (
        "import sys; from pathlib import Path; from broker.packs import unpack; from broker.topics import Channel;"
        f"print(len(unpack(Channel.TELEMETRY, Path({str(GOLDEN)!r}).read_bytes())), 'ctypes' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, cwd=REPOSITORY
    )
    assert done.stdout.split() == ["2", "False"]
