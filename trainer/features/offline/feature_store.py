"""The feature store: views and their rows at one address, and what is asked of them offline."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from edge_agent.clock import Clock
from trainer.errors import DataError, ProjectError
from trainer.features.offline.join import ASKED, ORDER, Part, join_sql
from trainer.features.offline.moments import MOMENT, STORED, moments, stored
from trainer.features.offline.rows import Pushed, ViewRows, read_parquet
from trainer.features.offline.series import AVAILABLE, EVENT, KNOWN, PART, names_of
from trainer.features.offline.spool import spool_rows
from trainer.features.offline.typed import schema_of, typed_key
from trainer.features.storage.address import StoreFiles
from trainer.features.views.catalogue import Catalogue
from trainer.features.views.view import Dst, Epoch, FeatureView, ViewFeature

_US_PER_S: Final = 1_000_000


class FeatureStore:
    """Views and rows of one address; used by several processes at once."""

    def __init__(self, address: str, clock: Clock, through: Mapping[str, int] | None = None) -> None:
        """Open it; nothing is read yet.

        Args:
            address: a folder, or what fsspec knows.
            clock: tells the time.
            through: of views, the number of the last push that counts, for who must see what another one saw.
        """
        self.files = StoreFiles(address)
        self.catalogue = Catalogue(self.files)
        self.rows = ViewRows(self.files, clock, through)
        self._clock = clock

    def push(self, name: str, tables: Iterable[tuple[str, Any]]) -> Pushed:
        """Add rows to a view: raw Arrow tables with the columns of its source, each with a name for messages.

        Raises:
            DataError: no such view, or a row that is not what it declares; nothing is stored then.
        """
        view = self.catalogue.find(name).view
        with tempfile.TemporaryDirectory(prefix="fieldloop-push-") as folder:
            return self.rows.push(spool_rows(view, tables, Path(folder)))

    def extract(
        self,
        asked: Any,  # noqa: ANN401 - Arrow ships no types
        wanted: Sequence[str],
        *,
        time: str = "event_timestamp",
        zone: str | None = None,
        dst: Dst = "refuse",
        epoch: Epoch | None = None,
        where: str = "the rows that are asked about",
    ) -> Any:  # noqa: ANN401
        """Return rows of entities and times with the features that were known then.

        Args:
            asked: Arrow table with the keys of all views and a column of times; its other columns are kept.
            wanted: views, ``machine_hourly``, or features of them, ``machine_hourly:load``.
            time: the column of times.
            zone: of times that do not say theirs.
            dst: what a local time means that occurs twice or never.
            epoch: of times that are numbers.
            where: what to call the rows in messages.

        Returns:
            The table with the features behind its columns, in the same order; null where nothing was known or valid.

        Raises:
            DataError: no such view, feature or column, or a key or time that is missing.
        """
        choices = [self._choice(each) for each in wanted]
        if time not in asked.column_names:
            raise DataError(
                f"{where}: there is no column {time!r} of times; the columns are: {', '.join(asked.column_names)[:300]}"
            )
        place = f"{where}: column {time!r}"
        columns = {
            ORDER: pa.array(range(asked.num_rows), pa.int64()),
            ASKED: stored(moments(asked.column(time), place, zone=zone, dst=dst, epoch=epoch)),
            **_keys(asked, [view for view, _ in choices], where),
        }
        names = _given_names(choices, set(asked.column_names))
        with self.rows.connection() as connection:
            connection.register("asked_rows", pa.table(columns))
            parts = [
                Part(view, read_parquet((self.rows.series(view),)), given)
                for (view, _), given in zip(choices, names, strict=True)
            ]
            found = connection.sql(f"{join_sql('asked_rows', parts)} ORDER BY {ORDER}").to_arrow_table()
        for name in found.column_names[1:]:
            asked = asked.append_column(name, found.column(name))
        return asked

    def latest(self, name: str, *, now_utc_s: float | None = None) -> Any:  # noqa: ANN401
        """Return the newest row of each entity that is known and valid now, with its time as `event_timestamp`.

        Raises:
            DataError: no such view.
        """
        view = self.catalogue.find(name).view
        now_us = int((self._clock.utc_s() if now_utc_s is None else now_utc_s) * _US_PER_S)
        table = self.newest(view, now_us).drop_columns([PART, AVAILABLE, KNOWN])
        if view.ttl_s is not None:
            oldest = pa.scalar(now_us - round(view.ttl_s * _US_PER_S), pa.int64()).cast(STORED)
            table = table.filter(pc.greater_equal(table.column(EVENT), oldest))
        event = pc.cast(pc.cast(table.column(EVENT), pa.int64()), MOMENT)
        return table.set_column(table.column_names.index(EVENT), "event_timestamp", event)

    def known(self, view: FeatureView, as_of_us: int, features: tuple[str, ...]) -> Any:  # noqa: ANN401
        """Return every event of a view that has happened at a moment, as it was known then, sorted by time and keys.

        Returns:
            Arrow table with the keys, `EVENT`, `KNOWN` and the features.
        """
        return self.rows.known(view, as_of_us, features)

    def named(self, wanted: Sequence[str], taken: Iterable[str]) -> tuple[tuple[FeatureView, ViewFeature, str], ...]:
        """Return the features that are wanted, each with its view and with the name that `extract` gives it.

        Args:
            wanted: views, or features of them, as for `extract`.
            taken: columns of the rows that ask.

        Raises:
            DataError: no such view or feature.
        """
        choices = [self._choice(each) for each in wanted]
        given = _given_names(choices, set(taken))
        found = []
        for (view, _), names in zip(choices, given, strict=True):
            features = {feature.name: feature for feature in view.features}
            found += [(view, features[name], short) for name, short in names]
        return tuple(found)

    def newest(self, view: FeatureView, now_us: int) -> Any:  # noqa: ANN401
        """Return of each entity the row that counts at a moment, whatever its age, sorted by keys."""
        series = read_parquet((self.rows.series(view),))
        names = (*view.keys, AVAILABLE, EVENT, KNOWN, PART, *(feature.name for feature in view.features))
        with self.rows.connection() as connection:
            return connection.sql(
                f"SELECT {names_of(names)} FROM {series} WHERE {AVAILABLE} <= make_timestamp({now_us}) "  # noqa: S608 - names are quoted
                f"QUALIFY row_number() OVER (PARTITION BY {names_of(view.keys)} ORDER BY {AVAILABLE} DESC) = 1 "
                f"ORDER BY {names_of(view.keys)}"
            ).to_arrow_table()

    def _choice(self, wanted: str) -> tuple[FeatureView, tuple[str, ...]]:
        name, found, feature = wanted.partition(":")
        view = self.catalogue.find(name).view
        names = tuple(each.name for each in view.features)
        if found and feature not in names:
            raise DataError(f"view {name!r} has no feature {feature!r}; it has: {', '.join(names)}")
        return view, (feature,) if found else names


def _keys(asked: Any, views: Sequence[FeatureView], where: str) -> dict[str, Any]:  # noqa: ANN401
    found: dict[str, Any] = {}
    for view in views:
        for key in view.keys:
            if key not in asked.column_names:
                raise DataError(
                    f"{where}: there is no column {key!r}, the key of view {view.name!r}; "
                    f"the columns are: {', '.join(asked.column_names)[:300]}"
                )
            typed = typed_key(asked.column(key), schema_of(view).field(key).type, f"{where}: column {key!r}")
            if key in found and found[key].type != typed.type:
                raise ProjectError(
                    f"key {key!r} is {typed.type} in view {view.name!r}, and {found[key].type} in another"
                )
            found[key] = typed
    return found


def _given_names(
    choices: Sequence[tuple[FeatureView, tuple[str, ...]]], taken: set[str]
) -> list[tuple[tuple[str, str], ...]]:
    """Name the features in the answer: by themselves, and with their view where another column has that name."""
    # DuckDB knows no capital letters.
    used, result = {name.lower() for name in taken}, []
    for view, names in choices:
        given = []
        for name in names:
            short = name if name.lower() not in used else f"{view.name}__{name}"
            if short.lower() in used:
                raise DataError(f"feature {name!r} of view {view.name!r} is asked for twice; ask for it once")
            used.add(short.lower())
            given.append((name, short))
        result.append(tuple(given))
    return result
