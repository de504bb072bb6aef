"""What a pack of telemetry windows is, in Python: the same lines write and read.

Each window of a pack is coded with the one before it in view, so bundle, times and resources cost next to nothing from
the second on. This is the description, and what `broker/codec` is held to, to the bit; it knows no limits of messages.
"""

import math
import struct
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from broker.counts import code_histogram
from broker.entropy import Chances, Coder, DamagedStreamError, Reader, Writer, code_integer, code_signed
from broker.messages import BundleRef, Epoch, FeatureCounts, RecordKey, Resources, TelemetryWindow

MAX_WINDOWS: Final = 16
# A bin can cost a hundredth of a bit: the length of a pack does not bound what it unfolds to, nor the time that this
# takes; this does. Histograms count as one more than their bins.
MAX_COUNTS: Final = 1 << 14

Record = tuple[RecordKey, TelemetryWindow]

_NAMED_VARIANTS: Final = ("onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8", "native", "native-int8")
_EPOCH_BITS: Final = 32
_BYTE_BITS: Final = 8
_DOUBLE_BITS: Final = 64
_MS_PER_S: Final = 1000
# Below this, thousandths are whole numbers that a double can hold.
_MAX_SECONDS: Final = 1e12
_MAX_TEXT_BYTES: Final = 512
_MAX_FEATURES: Final = 4096
_MAX_BINS: Final = 1024
_MAX_LATENCY_SPAN: Final = 8193
_MAX_NAMES: Final = 32
_PAGE_BYTES: Final = 4096
_FLOAT: Final = struct.Struct(">d")
_DOUBLE: Final = struct.Struct(">Q")


def write_records(records: Sequence[Record]) -> bytes:
    """Return the stream of a pack.

    Raises:
        DamagedStreamError: records that no reader would take.
    """
    writer = Writer()
    _code_records(writer, writer.chances, records)
    return writer.finish()


def read_records(stream: memoryview) -> list[Record]:
    """Return the records of a pack's stream; their numbers and texts may be ones that version 1 refuses.

    Raises:
        DamagedStreamError: it is none.
    """
    reader = Reader(stream)
    records = _code_records(reader, reader.chances, ())
    reader.finish()
    return records


class _Before(Struct):
    """What the next window is coded with in view."""

    window: TelemetryWindow
    duration_ms: int = 0
    bins: dict[int, list[int]] = msgspec.field(default_factory=dict)
    counts_left: int = MAX_COUNTS


# A reader has nothing to say where a writer names a value.
_NOTHING: Final = TelemetryWindow(BundleRef("-", 1), "", 0.0, 0.0, 0, 0, 0, (), (), (), (), (), ())
_NO_FEATURE: Final = FeatureCounts(())
_NO_KEY: Final = RecordKey(Epoch(0), 1, 0)


def _code_records(coder: Coder, chances: Chances, records: Sequence[Record]) -> list[Record]:
    n_records = 1 + code_integer(coder, "records", max(len(records) - 1, 0))
    if n_records > MAX_WINDOWS:
        raise DamagedStreamError(f"{n_records} windows, at most {MAX_WINDOWS} are allowed")
    coded: list[Record] = []
    before = _Before(_NOTHING)
    for at in range(n_records):
        key, window = records[at] if records else (_NO_KEY, _NOTHING)
        key = _code_first_key(coder, key) if at == 0 else _code_next_key(coder, key, coded[-1][0])
        coded.append((key, _code_window(coder, chances, window, before)))
        before.window = coded[-1][1]
    return coded


def _code_first_key(coder: Coder, key: RecordKey) -> RecordKey:
    epoch = coder.bits(key.epoch, _EPOCH_BITS)
    sequence = code_integer(coder, "sequence", key.sequence)
    return RecordKey(
        Epoch(epoch), sequence, sequence - 1 - code_integer(coder, "jump", key.sequence - 1 - key.previous)
    )


def _code_next_key(coder: Coder, key: RecordKey, before: RecordKey) -> RecordKey:
    jump = code_integer(coder, "jump", max(key.sequence - 1 - before.sequence, 0))
    return RecordKey(before.epoch, before.sequence + 1 + jump, before.sequence)


def _code_window(coder: Coder, chances: Chances, window: TelemetryWindow, before: _Before) -> TelemetryWindow:
    last = before.window
    bundle, variant = _code_bundle(coder, window, last)
    started, ended = _code_times(coder, window, before)
    follows = coder.flag("rows follow", window.first_row == last.last_row + 1)
    first = last.last_row + 1 if follows else code_integer(coder, "first row", window.first_row)
    rows = code_signed(coder, "rows more", window.last_row - window.first_row - (last.last_row - last.first_row))
    last_row = first + rows + last.last_row - last.first_row
    refused = _code_names(coder, "refused", window.rows_refused)
    scored = last_row + 1 - first - sum(n for _, n in refused)
    scored += code_signed(coder, "scored", window.rows_scored - (last_row + 1 - first - sum(n for _, n in refused)))
    return TelemetryWindow(
        bundle=bundle,
        variant=variant,
        started_utc_s=started,
        ended_utc_s=ended,
        first_row=first,
        last_row=last_row,
        rows_scored=scored,
        rows_refused=refused,
        features=_code_features(coder, chances, scored, window.features, before),
        predictions=_code_answers(coder, chances, "predictions", -1, scored, window.predictions, before),
        agreement=_code_answers(coder, chances, "agreement", -2, scored, window.agreement, before),
        latency=_code_latency(coder, chances, scored, window.latency, before),
        errors=_code_names(coder, "errors", window.errors),
        resources=_code_resources(coder, window.resources, last.resources),
    )


def _code_bundle(coder: Coder, window: TelemetryWindow, last: TelemetryWindow) -> tuple[BundleRef, str]:
    if coder.flag("same bundle", (window.bundle, window.variant) == (last.bundle, last.variant)):
        return last.bundle, last.variant
    name = _code_text(coder, "bundle", window.bundle.name)
    version = code_integer(coder, "version", window.bundle.version)
    variant = window.variant
    if coder.flag("named variant", variant in _NAMED_VARIANTS):
        known = _NAMED_VARIANTS.index(variant) if variant in _NAMED_VARIANTS else 0
        place = coder.bits(known, (len(_NAMED_VARIANTS) - 1).bit_length())
        if place >= len(_NAMED_VARIANTS):
            raise DamagedStreamError("a variant that is not there")
        return BundleRef(name, version), _NAMED_VARIANTS[place]
    return BundleRef(name, version), _code_text(coder, "variant", variant)


def _code_times(coder: Coder, window: TelemetryWindow, before: _Before) -> tuple[float, float]:
    last = before.window
    is_next = coder.flag("starts at the end of the last", window.started_utc_s == last.ended_utc_s)
    started = last.ended_utc_s if is_next else _code_seconds(coder, "start", window.started_utc_s, 0)
    start_ms, end_ms = _whole_ms(started), _whole_ms(window.ended_utc_s)
    if coder.flag("whole milliseconds", start_ms is not None and end_ms is not None):
        if start_ms is None:
            raise DamagedStreamError("a duration from a time that is no whole number of milliseconds")
        wanted_ms = 0 if end_ms is None else end_ms - start_ms - before.duration_ms
        before.duration_ms += code_signed(coder, "duration", wanted_ms)
        return started, (start_ms + before.duration_ms) / _MS_PER_S
    return started, _code_double(coder, window.ended_utc_s)


def _code_features(
    coder: Coder, chances: Chances, scored: int, features: Sequence[FeatureCounts], before: _Before
) -> tuple[FeatureCounts, ...]:
    n_before = len(before.window.features)
    n_features = n_before + code_signed(coder, "features", len(features) - n_before)
    if not 0 <= n_features <= _MAX_FEATURES:
        raise DamagedStreamError(f"{n_features} features")
    coded: list[FeatureCounts] = []
    for at in range(n_features):
        feature = features[at] if features else _NO_FEATURE
        total = sum(feature.counts)
        is_plain = coder.flag("plain", feature.missing == 0 == feature.out_of_range and total == scored)
        missing = outside = 0
        if not is_plain:
            missing = code_integer(coder, "missing", feature.missing)
            outside = code_integer(coder, "out of range", feature.out_of_range)
            # Each scored row is in a bin or missing; refused rows may be missing as well.
            total = scored - missing + code_signed(coder, "feature total", total - (scored - missing))
        counts = _code_bins(coder, chances, "feature", at, scored if is_plain else total, feature.counts, before)
        coded.append(FeatureCounts(counts, missing, outside))
    return tuple(coded)


def _code_answers(
    coder: Coder, chances: Chances, name: str, place: int, scored: int, counts: Sequence[int], before: _Before
) -> tuple[int, ...]:
    """Code a histogram of the answers, of which there is one for each scored row."""
    total = scored + code_signed(coder, f"{name} total", sum(counts) - scored)
    return _code_bins(coder, chances, name, place, total, counts, before)


def _code_bins(
    coder: Coder, chances: Chances, name: str, place: int, total: int, counts: Sequence[int], before: _Before
) -> tuple[int, ...]:
    """Code a histogram of which the number of bins is not known; ``place`` names it among those of the window."""
    known = before.bins.get(place)
    usual = len(known) if known is not None else len(before.bins.get(place - 1, ()))
    n_bins = usual + code_signed(coder, f"{name} bins", len(counts) - usual)
    _take_counts(before, n_bins, _MAX_BINS)
    if total < 0 or (total and not n_bins):
        raise DamagedStreamError(f"{total} rows in {n_bins} bins")
    in_view = known if known is not None and len(known) == n_bins else ()
    before.bins[place] = code_histogram(coder, chances, name, total, counts or (0,) * n_bins, in_view)
    return tuple(before.bins[place])


def _code_latency(
    coder: Coder, chances: Chances, scored: int, pairs: Sequence[tuple[int, int]], before: _Before
) -> tuple[tuple[int, int], ...]:
    """Code a sketch as the histogram from its first to its last bucket."""
    last = before.window.latency
    total = scored + code_signed(coder, "latency total", sum(count for _, count in pairs) - scored)
    if total <= 0:
        if total < 0:
            raise DamagedStreamError("durations below nothing")
        return ()
    first_before, span_before = (last[0][0], last[-1][0] - last[0][0]) if last else (0, 0)
    first, span = (pairs[0][0], pairs[-1][0] - pairs[0][0]) if pairs else (0, 0)
    first = first_before + code_signed(coder, "latency from", first - first_before)
    span = span_before + code_signed(coder, "latency over", span - span_before)
    _take_counts(before, span + 1, _MAX_LATENCY_SPAN)
    by_bucket, by_bucket_before = dict(pairs), dict(last)
    buckets = range(first, first + span + 1)
    counts = code_histogram(
        coder,
        chances,
        "latency",
        total,
        [by_bucket.get(bucket, 0) for bucket in buckets],
        [by_bucket_before.get(bucket, 0) for bucket in buckets] if last else (),
    )
    return tuple((bucket, count) for bucket, count in zip(buckets, counts, strict=True) if count)


def _take_counts(before: _Before, n_bins: int, most: int) -> None:
    """Refuse, before they are made, more bins than there may be."""
    before.counts_left -= n_bins + 1
    if not 0 <= n_bins <= most or before.counts_left < 0:
        raise DamagedStreamError(f"{n_bins} bins more than are allowed")


def _code_names(coder: Coder, name: str, counts: Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    n_names = code_integer(coder, f"{name} names", len(counts))
    if n_names > _MAX_NAMES:
        raise DamagedStreamError(f"{n_names} names")
    coded: list[tuple[str, int]] = []
    for at in range(n_names):
        text, count = counts[at] if counts else ("", 0)
        coded.append((_code_text(coder, name, text), code_integer(coder, name, count)))
    return tuple(coded)


def _code_resources(coder: Coder, resources: Resources | None, last: Resources | None) -> Resources | None:
    if not coder.flag("resources", resources is not None):
        return None
    told, known = resources or _NO_RESOURCES, last or _NO_RESOURCES
    rss = _code_pages(coder, "rss", told.rss_bytes, known.rss_bytes)
    cpu = _code_seconds(coder, "cpu", told.cpu_s, _whole_ms(known.cpu_s) or 0)
    disk = _code_pages(coder, "disk", told.free_disk_bytes, known.free_disk_bytes)
    temperature: float | None = None
    if coder.flag("temperature", told.temperature_c is not None):
        # Not `or`: minus nought is no nought.
        warmth = 0.0 if told.temperature_c is None else told.temperature_c
        temperature = _code_seconds(coder, "warmth", warmth, _whole_ms(known.temperature_c or 0.0) or 0)
    throttled: bool | None = None
    if coder.flag("throttling told", told.throttled is not None):
        throttled = coder.flag("throttled", bool(told.throttled))
    return Resources(rss, cpu, disk, temperature, throttled)


_NO_RESOURCES: Final = Resources(0, 0.0, 0)


def _code_pages(coder: Coder, name: str, size_bytes: int, known_bytes: int) -> int:
    unit = _PAGE_BYTES if coder.flag(f"{name} in pages", size_bytes % _PAGE_BYTES == 0) else 1
    known = known_bytes // unit
    return (known + code_signed(coder, name, size_bytes // unit - known)) * unit


def _code_seconds(coder: Coder, name: str, value: float, known_ms: int) -> float:
    """Code a number with at most three decimals by its distance from a known one, any other by its bits."""
    wanted_ms = _whole_ms(value)
    if coder.flag(f"{name} in thousandths", wanted_ms is not None):
        return (known_ms + code_signed(coder, name, (wanted_ms or 0) - known_ms)) / _MS_PER_S
    return _code_double(coder, value)


def _code_double(coder: Coder, value: float) -> float:
    (bits,) = _DOUBLE.unpack(_FLOAT.pack(value))
    (read,) = _FLOAT.unpack(_DOUBLE.pack(coder.bits(bits, _DOUBLE_BITS)))
    return float(read)


def _code_text(coder: Coder, name: str, text: str) -> str:
    encoded = text.encode()
    n_bytes = code_integer(coder, f"{name} bytes", len(encoded))
    if n_bytes > _MAX_TEXT_BYTES:
        raise DamagedStreamError(f"a text of {n_bytes} bytes")
    source = encoded if len(encoded) == n_bytes else bytes(n_bytes)
    try:
        return bytes(coder.bits(byte, _BYTE_BITS) for byte in source).decode()
    except UnicodeDecodeError as error:
        raise DamagedStreamError("a text that is not UTF-8") from error


def _whole_ms(seconds: float) -> int | None:
    """Return a number of thousandths that gives exactly this number back; None where there is none."""
    if not abs(seconds) <= _MAX_SECONDS:
        return None
    thousandths = round(seconds * _MS_PER_S)
    # Minus nought would come back as nought.
    is_same = thousandths / _MS_PER_S == seconds and (seconds != 0 or math.copysign(1.0, seconds) > 0)
    return thousandths if is_same else None
