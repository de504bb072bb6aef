"""What an entity, a feature and a feature view are; all problems of a declaration are told at once.

The same objects are made in Python or read from TOML (`view_file`). Nothing here reads rows.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from trainer.errors import ProjectError
from trainer.project.section import Section

Dtype = Literal["float", "int", "text", "bool"]
# A number in a column of times is a count of these since 1970; without it the column holds dates.
Epoch = Literal["s", "ms", "us"]
# What a local time that an hour's shift makes twice, or not at all, stands for.
Dst = Literal["refuse", "earlier", "later"]
FleetTable = Literal["samples", "labels"]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
# What a query of a view calls the moment from which on rows are wanted.
SINCE: Final = re.compile(r"(?<![:\w]):since\b")
# A feature is a column of its source, so that other letters may occur; what we add ourselves begins with two dashes.
_COLUMN: Final = re.compile(r"(?!__)[^\x00-\x1f\"]{1,128}")


class Entity(Section, frozen=True, kw_only=True):
    """What features are about: a machine, a customer.

    Attributes:
        name: of the entity.
        key: the column that names one of them, the same in every view and in what is asked.
        dtype: of the key.
        description: for people.
    """

    name: str
    key: str
    dtype: Literal["text", "int"] = "text"
    description: str = ""


class ViewFeature(Section, frozen=True, kw_only=True):
    """One feature of a view.

    Attributes:
        name: and column of the source.
        dtype: of its values; each may be missing.
        unit: of its values, empty where it has none.
        description: for people.
        range: least and greatest valid value; values beyond are kept and counted.
        owner: who answers for it; empty: the view's.
    """

    name: str
    dtype: Dtype = "float"
    unit: str = ""
    description: str = ""
    range: tuple[float, float] | None = None
    owner: str = ""


class Source(Section, frozen=True, kw_only=True):
    """Where rows come from; at most one of `path`, `query` and `fleet`. None: rows are pushed.

    Attributes:
        path: CSV or Parquet files by address; relative ones start from the file that declares them.
        query: SQL of a database.
        database: its address, without a password.
        database_env: the environment variable that holds its address, where a password belongs.
        fleet: rows that devices sent: `samples`, or `labels` with their samples.
        timestamp: column of the time of the event.
        known: column of when the row became known, never used before; without it: with the event.
        zone: of times that do not say theirs, as `Europe/Zurich`.
        dst: what a local time means that occurs twice or never.
        epoch: of times that are numbers.
        pull: whether a run reads the source first; false: only ``fieldloop features push`` brings its rows in.
    """

    path: tuple[str, ...] = ()
    query: str | None = None
    database: str | None = None
    database_env: str | None = None
    fleet: FleetTable | None = None
    timestamp: str = "event_timestamp"
    known: str | None = None
    zone: str | None = None
    dst: Dst = "refuse"
    epoch: Epoch | None = None
    pull: bool = True

    @property
    def is_there(self) -> bool:
        """Whether there is anything to read from; else rows are pushed."""
        return bool(self.path) or self.query is not None or self.fleet is not None

    @property
    def reads_since(self) -> bool:
        """Whether the query asks for rows from a moment on."""
        return self.query is not None and SINCE.search(self.query) is not None


class FeatureView(Section, frozen=True, kw_only=True):
    """Features of one source with the same keys and times.

    Attributes:
        name: among all views of the store.
        entities: whose keys name a row.
        features: in the order in which they are given out.
        source: of the rows.
        ttl_s: seconds after its event for which a row is valid; None: for ever.
        description: for people.
        owner: who answers for it.
    """

    name: str
    entities: tuple[Entity, ...]
    features: tuple[ViewFeature, ...]
    source: Source = Source()
    ttl_s: Annotated[float, Meta(gt=0)] | None = None
    description: str = ""
    owner: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that name a row."""
        return tuple(entity.key for entity in self.entities)

    def owner_of(self, feature: ViewFeature) -> str:
        """Return who answers for a feature."""
        return feature.owner or self.owner


def verify_view(view: FeatureView) -> None:
    """Raise ProjectError, that lists everything that is wrong with a declaration."""
    problems = list(_problems(view))
    if problems:
        raise ProjectError("\n".join(f"view {view.name!r}: {problem}" for problem in problems))


def _problems(view: FeatureView) -> Iterator[str]:
    if not _NAME.fullmatch(view.name):
        yield "a name is small letters, digits and _, and begins with a letter"
    if not view.entities:
        yield "it has no entity; name one in 'entities'"
    if not view.features:
        yield "it has no feature; declare one in [[views.features]]"
    columns = [*view.keys, *(feature.name for feature in view.features)]
    for column in columns:
        if not _COLUMN.fullmatch(column):
            yield f"{column!r} is no name of a column: up to 128 characters, no quotes, not beginning with __"
    # DuckDB knows no capital letters.
    counts = Counter(column.lower() for column in columns)
    for column, count in counts.items():
        if count > 1:
            yield f"{column!r} occurs {count} times among keys and features; rename one"
    yield from _range_problems(view.features)
    yield from _source_problems(view.source)


def _range_problems(features: tuple[ViewFeature, ...]) -> Iterator[str]:
    for feature in features:
        if feature.range is not None:
            if feature.dtype not in {"float", "int"}:
                yield f"feature {feature.name!r} is {feature.dtype} and has no range; take 'range' out"
            if not feature.range[0] < feature.range[1]:
                yield f"feature {feature.name!r}: the range {list(feature.range)} is empty; write [least, greatest]"


def _source_problems(source: Source) -> Iterator[str]:
    if sum((bool(source.path), source.query is not None, source.fleet is not None)) > 1:
        yield "source: one of path, query and fleet, not several"
    if (source.query is not None) != (source.database is not None or source.database_env is not None):
        yield "source: query and database (or database_env) go together"
    if source.reads_since and source.known is None:
        yield "source: a query with :since needs 'known', the column that it compares: a late row would never be read"
    if source.database is not None and source.database_env is not None:
        yield "source: database or database_env, not both"
    if source.zone is not None:
        try:
            ZoneInfo(source.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield f"source: there is no time zone {source.zone!r}; write one as 'Europe/Zurich' or 'UTC'"
