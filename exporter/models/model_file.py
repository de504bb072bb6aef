"""Loads a skops file. It is untrusted input: only types that are known to be harmless, no pickle."""

import io
import zipfile
from pathlib import Path
from typing import Final, cast

import skops.io
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from skops.io.exceptions import UntrustedTypesFoundException

from exporter.errors import ModelError
from exporter.models.model import Estimator
from exporter.models.trusted_types import trusted_types

MAX_BYTES: Final = 512 << 20


def load_estimator(path: Path) -> Estimator:
    """Read a fitted estimator from a skops file.

    Raises:
        ModelError: unreadable, not a skops file, or holding types that are not trusted; each is named.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: larger than the {MAX_BYTES} bytes that are read")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse_estimator(data, str(path))


def parse_estimator(data: bytes, where: str) -> Estimator:
    """Read a fitted estimator from the bytes of a skops file; raise ModelError as `load_estimator` does."""
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(trusted_types()))
        if unknown:
            # A search remembers how it was done, and by whose functions; what it found is often all that is wanted.
            hint = "; dump its best_estimator_ if that is a search" if _is_search(data) else ""
            raise ModelError(
                f"{where}: holds types that are not trusted: {', '.join(unknown)}; nothing was loaded{hint}"
            )
        estimator = skops.io.loads(data, trusted=list(trusted_types()))
    except UntrustedTypesFoundException as error:
        raise ModelError(f"{where}: {error}") from error
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, EOFError, ImportError) as error:
        raise ModelError(
            f"{where}: not a skops file ({type(error).__name__}: {error}); write one with skops.io.dump"
        ) from error
    return verified(estimator, where)


def verified(estimator: object, where: str) -> Estimator:
    """Return what a file held as an estimator.

    Raises:
        ModelError: it predicts nothing, or was never fitted.
    """
    if not hasattr(estimator, "predict"):
        raise ModelError(f"{where}: holds {type(estimator).__name__}, which predicts nothing")
    try:
        if isinstance(estimator, BaseEstimator):
            check_is_fitted(estimator)
    except NotFittedError as error:
        raise ModelError(f"{where}: holds {type(estimator).__name__}, which was never fitted") from error
    return cast("Estimator", estimator)


def _is_search(data: bytes) -> bool:
    return b"SearchCV" in zipfile.ZipFile(io.BytesIO(data)).read("schema.json")
