"""Turns columns of times into microseconds of UTC; a local time without its zone is refused, never guessed.

Times with a zone keep their moment. A local time that the change of an hour makes twice, or leaves out, is refused
unless the view says which one it stands for.
"""

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from trainer.errors import DataError
from trainer.features.columns import MISSING_TEXTS
from trainer.features.views.view import Dst, Epoch

MOMENT: Final = pa.timestamp("us", tz="UTC")
# As rows are stored, in UTC too: without an extension that is downloaded, DuckDB computes with no others.
STORED: Final = pa.timestamp("us")
_PER_SECOND: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_WITH_ZONE: Final = r"[0-9](Z|z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_POLICY: Final = {"refuse": "raise", "earlier": "earliest", "later": "latest"}


def moments(raw: Any, where: str, *, zone: str | None, dst: Dst = "refuse", epoch: Epoch | None = None) -> Any:  # noqa: ANN401 - Arrow ships no types
    """Return a column of times as ``timestamp[us, tz=UTC]``; finer parts of a microsecond are dropped.

    Args:
        raw: dates, texts of ISO 8601, or numbers.
        where: file and column, for messages.
        zone: of the times that do not say theirs.
        dst: what a local time means that occurs twice or never.
        epoch: what numbers count since 1970, in UTC.

    Raises:
        DataError: a missing time, a text that is none, a number without `epoch`, a local time without a zone or at the
            change of an hour; it names the row.
    """
    if isinstance(raw, pa.ChunkedArray):
        raw = raw.combine_chunks()
    if not len(raw):
        return pa.array([], MOMENT)
    if pa.types.is_dictionary(raw.type):
        raw = raw.dictionary_decode()
    if pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type):
        raw = pc.utf8_trim_whitespace(raw)
        raw = pc.if_else(pc.is_in(raw, value_set=pa.array(MISSING_TEXTS, type=raw.type)), None, raw)
    if raw.null_count:
        row = pc.index(pc.is_null(raw), value=True).as_py()
        raise DataError(f"{where}: row {row}: no time ({raw.null_count} such rows); fill it, or drop the rows")
    if pa.types.is_timestamp(raw.type):
        # Floored, so that no row is ever a part of a microsecond early on one side of a comparison only.
        raw = _floored(raw)
        return pc.cast(raw, MOMENT) if raw.type.tz else _placed(raw, where, zone, dst)
    if pa.types.is_date(raw.type):
        return _placed(pc.cast(raw, STORED), where, zone, dst)
    if epoch is not None:
        return _counted(raw, where, epoch)
    if not (pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type)):
        raise DataError(f"{where}: holds {raw.type}, not times; say with 'epoch' what the numbers count: s, ms or us")
    return _parsed(raw, where, zone, dst)


def stored(found: Any) -> Any:  # noqa: ANN401
    """Return what `moments` returned as it is stored."""
    return pc.cast(pc.cast(found, pa.int64()), STORED)


def _floored(raw: Any) -> Any:  # noqa: ANN401
    kind = pa.timestamp("us", tz=raw.type.tz)
    return pc.cast(pc.floor_temporal(raw, unit="microsecond") if raw.type.unit == "ns" else raw, kind, safe=False)


def _counted(raw: Any, where: str, epoch: Epoch) -> Any:  # noqa: ANN401
    try:
        if pa.types.is_integer(raw.type):
            return pc.cast(pc.multiply_checked(pc.cast(raw, pa.int64()), _PER_SECOND[epoch]), MOMENT)
        exact = pc.floor(pc.add(pc.multiply(pc.cast(raw, pa.float64()), float(_PER_SECOND[epoch])), 1e-3))
        return pc.cast(pc.cast(exact, pa.int64()), MOMENT)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{where}: is no column of numbers of {epoch} since 1970: {error}") from error


def _parsed(raw: Any, where: str, zone: str | None, dst: Dst) -> Any:  # noqa: ANN401
    zoned = pc.match_substring_regex(raw, pattern=_WITH_ZONE)
    # A date alone ends like a zone of minus some hours.
    zoned = pc.and_(zoned, pc.greater(pc.utf8_length(raw), 10))
    aware = _cast(pc.if_else(zoned, raw, None), MOMENT, where)
    if pc.all(zoned).as_py():
        return aware
    local = _cast(pc.if_else(zoned, None, raw), STORED, where)
    return pc.coalesce(aware, _placed(local, where, zone, dst))


def _cast(texts: Any, kind: Any, where: str) -> Any:  # noqa: ANN401
    try:
        return pc.cast(texts, kind)
    except pa.ArrowInvalid as error:
        for row, text in enumerate(texts.to_pylist()):
            try:
                pc.cast(pa.array([text], pa.string()), kind)
            except pa.ArrowInvalid:
                problem = f"{where}: row {row}: {text!r} is no time of ISO 8601 like 2026-03-29T02:30:00+01:00"
                raise DataError(problem) from error
        raise DataError(f"{where}: {error}") from error


def _placed(local: Any, where: str, zone: str | None, dst: Dst) -> Any:  # noqa: ANN401
    if zone is None:
        row = pc.index(pc.is_valid(local), value=True).as_py()
        raise DataError(
            f"{where}: row {row}: {local[row].as_py().isoformat()} does not say its zone; name it with 'zone', as "
            "'Europe/Zurich' or 'UTC'"
        )
    policy = _POLICY[dst]
    try:
        return pc.cast(pc.assume_timezone(local, zone, ambiguous=policy, nonexistent=policy), MOMENT)
    except pa.ArrowInvalid as error:
        earliest = pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="earliest")
        latest = pc.assume_timezone(local, zone, ambiguous="latest", nonexistent="latest")
        row = pc.index(pc.not_equal(earliest, latest), value=True).as_py()
        raise DataError(
            f"{where}: row {row}: {local[row].as_py().isoformat()} occurs twice or never in {zone}, where the clocks "
            "change; write times with their zone, or say with 'dst' which one is meant: earlier or later"
        ) from error
