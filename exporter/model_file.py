"""Loads a model file. It is untrusted input: only skops files, only types that are known to be harmless, no pickle."""

import zipfile
from pathlib import Path
from typing import Final

import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from exporter.errors import ModelError
from exporter.model import Estimator

MAX_BYTES: Final = 512 << 20

# Besides skops' own list: parts of the model families that a project can have, which hold numbers and nothing else.
TRUSTED: Final = (
    "numpy.dtype",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)


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
        unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED))
        if unknown:
            raise ModelError(f"{where}: holds types that are not trusted: {', '.join(unknown)}; nothing was loaded")
        estimator = skops.io.loads(data, trusted=list(TRUSTED))
    except UntrustedTypesFoundException as error:
        raise ModelError(f"{where}: {error}") from error
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, EOFError, ImportError) as error:
        raise ModelError(
            f"{where}: not a skops file ({type(error).__name__}: {error}); write one with skops.io.dump"
        ) from error
    if not hasattr(estimator, "predict"):
        raise ModelError(f"{where}: holds {type(estimator).__name__}, which predicts nothing")
    loaded: Estimator = estimator
    return loaded
