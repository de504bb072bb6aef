"""Brings into the store what the sources of views hold now: all of them, or, where one cannot be read, nothing.

What was read before is not read again where the source can tell: a file whose content has not changed, rows of a query
that asks for those since a moment. What is read all the same and is there already is not stored twice.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from trainer.errors import DataError
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.offline.spool import Spooled, spool_rows
from trainer.features.sources.reading import Access, Before, read_source
from trainer.features.views.use import ViewRead
from trainer.features.views.view import FeatureView

_FOLDER: Final = "marks"


class _Marks(Struct, frozen=True):
    """What the files of a source were when they were read last; it says nothing of another declaration."""

    declaration: str
    files: dict[str, str]


def pull_views(store: FeatureStore, names: Iterable[str], access: Access) -> tuple[ViewRead, ...]:
    """Read the sources of views, those that are to be read by themselves, and return what is there then.

    Args:
        store: that knows the views.
        names: of the views.
        access: to the sources.

    Raises:
        DataError: there is no such view, a source cannot be read, or a row is not what its view declares; then none of
            them has a row more than before.
    """
    views = [store.catalogue.find(name).view for name in dict.fromkeys(names)]
    pulled = {view.name: (0, 0) for view in views}
    with tempfile.TemporaryDirectory(prefix="fieldloop-pull-") as folder:
        waiting = [
            _spooled(store, view, access, Path(folder)) for view in views if view.source.is_there and view.source.pull
        ]
        for spooled, marks in waiting:
            done = store.rows.push(spooled)
            pulled[spooled.view.name] = (done.given, done.added)
            if marks:
                # After the rows: who is cut off between the two reads the files again.
                store.files.write(_place(spooled.view), msgspec.json.encode(_Marks(_digest(spooled.view), marks)))
    return tuple(ViewRead(view.name, store.rows.last_push(view.name), *pulled[view.name]) for view in views)


def _spooled(store: FeatureStore, view: FeatureView, access: Access, folder: Path) -> tuple[Spooled, dict[str, str]]:
    newest = store.rows.newest_known_us(view) if view.source.reads_since else None
    before = Before(_marks(store, view), newest)
    try:
        return spool_rows(view, _tables(view, access, before), folder), dict(before.marks)
    except DataError as error:
        raise DataError(
            f"view {view.name!r}: its source cannot be read, and nothing was changed: {error}. To do with what the "
            "store holds: --stored for commands of features, or pull = false under [views.source] and register it"
        ) from error


def _tables(view: FeatureView, access: Access, before: Before) -> Iterator[tuple[str, Any]]:
    yield from read_source(view, access.environ, access.fleet, before)


def _marks(store: FeatureStore, view: FeatureView) -> dict[str, str]:
    """Return what the files were that the rows in the store are of; nothing is known where there are no rows."""
    if not view.source.path or not store.rows.parts(view.name) or not store.files.list(_place(view)):
        return {}
    try:
        marks = msgspec.json.decode(store.files.read(_place(view)), type=_Marks)
    except msgspec.DecodeError:
        # Only a help: without it everything is read.
        return {}
    return marks.files if marks.declaration == _digest(view) else {}


def _place(view: FeatureView) -> str:
    return f"{_FOLDER}/{view.name}.json"


def _digest(view: FeatureView) -> str:
    return hashlib.sha256(msgspec.json.encode(view)).hexdigest()[:32]
