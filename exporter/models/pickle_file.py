"""Loads a pickle, plain or by joblib. That runs whatever code the file names: only for files of a trusted author."""

import logging
import warnings
from pathlib import Path
from typing import Any

from exporter.errors import ModelError
from exporter.models.model import Estimator
from exporter.models.model_file import verified

logger = logging.getLogger(__name__)


def load_trusted_pickle(path: Path) -> Estimator:
    """Run a pickle, and return the estimator that it makes.

    Raises:
        ModelError: it fails, makes something that predicts nothing, or was written by another scikit-learn.
    """
    import joblib  # noqa: PLC0415 - nobody else may
    from sklearn.exceptions import InconsistentVersionWarning  # noqa: PLC0415 - as above

    logger.warning("%s is a pickle: loading it runs code that it brings", path)
    try:
        with warnings.catch_warnings():
            # Attributes change their meaning between versions: what would be exported is not what was trained.
            warnings.simplefilter("error", InconsistentVersionWarning)
            found: Any = joblib.load(path)  # noqa: TID251 - it was asked for by name: --trust-pickle
    except InconsistentVersionWarning as error:
        raise ModelError(
            f"{path}: pickled by scikit-learn {error.original_sklearn_version}, here is "
            f"{error.current_sklearn_version}; export it with the version that trained it"
        ) from error
    except Exception as error:  # whatever its code raises
        raise ModelError(f"{path}: cannot be unpickled ({type(error).__name__}: {error})") from error
    return verified(found, str(path))
