"""What a view holds: of each feature its values, of the view how fresh its entities are."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trainer.features.offline.feature_store import FeatureStore
from trainer.features.offline.rows import read_parquet
from trainer.features.offline.series import AVAILABLE, EVENT, KNOWN, quoted
from trainer.features.views.view import FeatureView, ViewFeature

_US_PER_S: Final = 1_000_000


class FeatureStatistics(msgspec.Struct, frozen=True):
    """One feature over all rows that count.

    Attributes:
        missing: rows without a value.
        distinct: different values, estimated.
        least: smallest value of a number, greatest, mean, and standard deviation; None: there is none.
        out_of_range: values beyond what the view declares; None: it declares nothing.
        newest_utc_s: event of the newest row that has a value; None: no row has.
        age_s: of that event.
        fresh: share of the entities whose newest row has a value and is within the ttl.
    """

    feature: str
    rows: int
    missing: int
    distinct: int
    least: float | None
    greatest: float | None
    mean: float | None
    deviation: float | None
    out_of_range: int | None
    newest_utc_s: float | None
    age_s: float | None
    fresh: float | None


class ViewStatistics(msgspec.Struct, frozen=True):
    """A view as a whole.

    Attributes:
        rows: that count, of all entities.
        entities: that have a row.
        delay_s: median of the time from an event until it was known; None: no rows.
    """

    view: str
    version: int
    rows: int
    entities: int
    delay_s: float | None
    features: tuple[FeatureStatistics, ...]


def view_statistics(store: FeatureStore, name: str, now_utc_s: float) -> ViewStatistics:
    """Compute the statistics of a view as of a time.

    Raises:
        DataError: no such view.
    """
    registered = store.catalogue.find(name)
    view, now_us = registered.view, int(now_utc_s * _US_PER_S)
    series = read_parquet((store.rows.series(view),))
    newest = store.newest(view, now_us)
    with store.rows.connection() as connection:
        connection.register("newest", newest)
        connection.execute(
            f"CREATE VIEW usable AS SELECT * FROM {series} WHERE {AVAILABLE} <= make_timestamp({now_us})"  # noqa: S608
        )
        whole = _row(
            connection,
            f"SELECT count(*) AS n_rows, median(epoch_us({KNOWN}) - epoch_us({EVENT})) AS delay_us FROM usable",  # noqa: S608
        )
        features = tuple(_feature(connection, view, feature, now_us) for feature in view.features)
    delay_s = None if whole["delay_us"] is None else whole["delay_us"] / _US_PER_S
    return ViewStatistics(name, registered.version, whole["n_rows"], newest.num_rows, delay_s, features)


def _feature(connection: Any, view: FeatureView, feature: ViewFeature, now_us: int) -> FeatureStatistics:  # noqa: ANN401
    column = quoted(feature.name)
    number = f"CAST({column} AS DOUBLE)" if feature.dtype in {"float", "int"} else "CAST(NULL AS DOUBLE)"
    low, high = feature.range or (None, None)
    beyond = "NULL" if low is None else f"count(*) FILTER ({number} < {low!r} OR {number} > {high!r})"
    facts: Mapping[str, Any] = _row(
        connection,
        f"""SELECT count(*) AS n_rows, count(*) FILTER ({column} IS NULL) AS missing,
                   approx_count_distinct({column}) AS n_distinct, min({number}) AS least, max({number}) AS greatest,
                   avg({number}) AS mean, stddev_samp({number}) AS deviation, {beyond} AS beyond,
                   epoch_us(max({EVENT}) FILTER ({column} IS NOT NULL)) AS newest
            FROM usable""",  # noqa: S608 - names are quoted
    )
    limit = "" if view.ttl_s is None else f" AND {now_us} - epoch_us({EVENT}) <= {round(view.ttl_s * _US_PER_S)}"
    fresh = _row(
        connection,
        f"SELECT avg(CASE WHEN {column} IS NOT NULL{limit} THEN 1.0 ELSE 0.0 END) AS share FROM newest",  # noqa: S608
    )["share"]
    newest_us = facts["newest"]
    return FeatureStatistics(
        feature=feature.name,
        rows=facts["n_rows"],
        missing=facts["missing"],
        distinct=facts["n_distinct"],
        least=facts["least"],
        greatest=facts["greatest"],
        mean=facts["mean"],
        deviation=facts["deviation"],
        out_of_range=facts["beyond"],
        newest_utc_s=None if newest_us is None else newest_us / _US_PER_S,
        age_s=None if newest_us is None else (now_us - newest_us) / _US_PER_S,
        fresh=fresh,
    )


def _row(connection: Any, query: str) -> Mapping[str, Any]:  # noqa: ANN401
    table = connection.sql(query).to_arrow_table()
    return {name: table.column(name)[0].as_py() for name in table.column_names}
