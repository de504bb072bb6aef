"""Keeps one empty metadata store for all projects of a user, and lays a copy where a new project needs its own.

MLflow makes a store by the sixty migrations of its history, which takes half a second to a whole one; a copy of what
came of them takes a hundredth of that. A version of MLflow has its own.
"""

import os
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from mlflow.version import VERSION

from edge_agent.durable import replacing
from exporter.pinned_environment import cache_folder

# What a store holds before anything was recorded: its migration, and the one workspace that all records are in.
_ALWAYS: Final = frozenset({"alembic_version", "workspaces"})
# Its place for artefacts is that of the store that was made first: MLflow makes it anew where it is missing.
_DEFAULT_EXPERIMENT: Final = "DELETE FROM experiments WHERE experiment_id = 0"


def lay_empty_store(file: Path, environment: Mapping[str, str] = os.environ) -> bool:
    """Put a kept empty store at ``file``, unless one is there; return whether it was done.

    Args:
        file: of a project's store; its folder is there.
        environment: variables of the process, which name the cache.
    """
    kept = _kept(environment)
    if file.exists() or not _is_whole(kept):
        return False
    # Linked and not renamed: another process may have made the store meanwhile, and recorded in it.
    with tempfile.TemporaryDirectory(prefix=".store-", dir=file.parent) as scratch:
        copy = Path(scratch) / file.name
        with replacing(copy) as target:
            target.write(kept.read_bytes())
        with suppress(FileExistsError):
            os.link(copy, file)
            return True
    return False


def keep_empty_store(file: Path, environment: Mapping[str, str] = os.environ) -> bool:
    """Keep a copy of a store that was just made, unless one is kept or something was recorded; return whether it was.

    Args:
        file: of a project's store.
        environment: variables of the process, which name the cache.
    """
    kept = _kept(environment)
    if _is_whole(kept):
        return False
    # A cache that cannot be written to costs time and nothing else.
    with suppress(OSError, sqlite3.Error):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".store-", dir=kept.parent) as scratch:
            copy = Path(scratch) / kept.name
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
                target.execute(_DEFAULT_EXPERIMENT)
                target.commit()
                if not _is_empty(target):
                    return False
            with replacing(kept) as place:
                place.write(copy.read_bytes())
        return True
    return False


def _kept(environment: Mapping[str, str]) -> Path:
    return cache_folder(environment) / "mlflow" / f"empty-{VERSION}.db"


def _is_whole(kept: Path) -> bool:
    """Tell whether a kept store is there, and was not damaged."""
    if not kept.is_file():
        return False
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{kept.as_uri()}?mode=ro", uri=True)) as store:
        ((found,),) = store.execute("PRAGMA quick_check")
        return found == "ok" and _is_empty(store)
    return False


def _is_empty(store: sqlite3.Connection) -> bool:
    """Tell whether a store has its tables and nothing was recorded in them."""
    tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables >= _ALWAYS:
        return False
    return not any(store.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() for table in tables - _ALWAYS)  # noqa: S608 - names of the store's own tables
