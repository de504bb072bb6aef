"""Which format a model file has, by its first bytes and never by its name, and who loads it.

A pickle can run any code when it is loaded, under whatever name: it is loaded only when that was asked for.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.errors import ModelError
from exporter.models.model import Estimator
from exporter.models.model_file import MAX_BYTES, load_estimator

_HEAD_BYTES: Final = 4096
_PICKLE_PROTOCOLS: Final = (2, 3, 4, 5)
# joblib compresses with any of these; nobody else's model file begins so.
_COMPRESSED: Final = (
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x5d\x00\x00",
)
_COMPRESSED_LZ4: Final = b"\x04\x22\x4d\x18"
# Of an ONNX file's first field, ir_version: its tag, and the versions that there may be.
_ONNX_TAG: Final = 0x08
_MAX_IR_VERSION: Final = 0x20


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        name: as people call it.
        begins: tells it by a file's first bytes.
        loader: ``module:function`` of what loads it, imported when wanted; empty when nobody does.
        advice: what to do instead, when nobody loads it; which package its loader needs otherwise.
    """

    name: str
    begins: Callable[[bytes], bool]
    loader: str
    advice: str


def _is_pickle(head: bytes) -> bool:
    has_protocol = len(head) > 1 and head[0] == 0x80 and head[1] in _PICKLE_PROTOCOLS  # noqa: PLR2004 - opcode PROTO
    # Protocols 0 and 1 begin with any opcode; these begin objects.
    return has_protocol or head[:2] in {b"(i", b"cs", b"ck", b"cn", b"cc", b"(d", b"(l", b"ci"}


def _is_compressed_pickle(head: bytes) -> bool:
    return head.startswith((*_COMPRESSED, _COMPRESSED_LZ4))


def _is_json_with(key: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.lstrip().startswith(b"{") and b'"' + key + b'"' in head


def _is_ubj(head: bytes) -> bool:
    return head.startswith(b"{") and b"learner" in head[:32] and b'"' not in head[:16]


def _is_onnx(head: bytes) -> bool:
    return len(head) > 2 and head[0] == _ONNX_TAG and 0 < head[1] < _MAX_IR_VERSION  # noqa: PLR2004 - tag, value, more


PICKLE: Final = "pickle"
_TORCH: Final = "export it with torch.onnx.export, and give the .onnx file"
_KERAS: Final = "convert it with tf2onnx or keras.Model.export(format='onnx'), and give the .onnx file"
# Zip files are told apart by the names that they hold: the first one stands in the first bytes.
FORMATS: Final[tuple[Format, ...]] = (
    Format("PyTorch", lambda head: head.startswith(b"PK") and b"data.pkl" in head, "", _TORCH),
    Format("Keras", lambda head: head.startswith(b"PK") and b"config.json" in head[:256], "", _KERAS),
    Format("skops", lambda head: head.startswith(b"PK"), "exporter.models.model_file:load_estimator", ""),
    Format("HDF5", lambda head: head.startswith(b"\x89HDF"), "", _KERAS),
    Format(
        "TFLite", lambda head: head[4:8] == b"TFL3", "", "it runs on devices already; give the model it was made of"
    ),
    Format(PICKLE, _is_pickle, "exporter.models.pickle_file:load_trusted_pickle", ""),
    Format(PICKLE, _is_compressed_pickle, "exporter.models.pickle_file:load_trusted_pickle", ""),
    Format(
        "LightGBM", lambda head: head.startswith(b"tree\n"), "exporter.reading.lightgbm:load_model_file", "lightgbm"
    ),
    # Before LightGBM's: XGBoost's files have a key `tree_info` as well.
    Format("XGBoost", _is_json_with(b"learner"), "exporter.reading.xgboost:load_model_file", "xgboost"),
    Format("LightGBM", _is_json_with(b"tree_info"), "exporter.reading.lightgbm:load_model_file", "lightgbm"),
    Format("XGBoost", _is_ubj, "exporter.reading.xgboost:load_model_file", "xgboost"),
    Format("ONNX", _is_onnx, "exporter.graphs.graph:load_model_file", "onnx"),
)


def load_model(path: Path, *, trust_pickle: bool = False) -> Estimator:
    """Read a model file of any known format.

    Args:
        path: of the file.
        trust_pickle: whether a pickle may be loaded, which runs the code that it names.

    Raises:
        ModelError: unreadable, too large, of no known format, or a pickle that nobody trusts; what to do is said.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size_bytes > MAX_BYTES:
        raise ModelError(f"{path}: larger than the {MAX_BYTES} bytes that are read")
    found = format_of(head)
    if found is None:
        known = ", ".join(dict.fromkeys(known.name for known in FORMATS if known.loader))
        raise ModelError(f"{path}: of no known format ({known}); write scikit-learn's models with skops.io.dump")
    if found.name == PICKLE and not trust_pickle:
        raise ModelError(
            f"{path}: a pickle, which can run any code when it is loaded; write the model with skops.io.dump, or, if "
            "you trust whoever made the file, say --trust-pickle"
        )
    if not found.loader:
        raise ModelError(f"{path}: a file of {found.name}: {found.advice}")
    return _load(found, path)


def format_of(head: bytes) -> Format | None:
    """Return the format of a file by its first bytes, or None."""
    return next((known for known in FORMATS if known.begins(head)), None)


def _load(found: Format, path: Path) -> Estimator:
    if found.name == "skops":
        return load_estimator(path)
    module, function = found.loader.split(":")
    try:
        load: Callable[[Path], Estimator] = getattr(importlib.import_module(module), function)
        return load(path)
    except ImportError as error:
        raise ModelError(f"{path}: a {found.name} model needs the package {found.advice}: {error}") from error
