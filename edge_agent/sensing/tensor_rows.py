"""Which rows the tensors of one request make: all features in one, one tensor a feature, or windows of raw readings."""

from collections.abc import Sequence
from typing import Final

from edge_agent.raw_signal import Signal
from edge_agent.scoring.schema import RawRow, RawValue
from edge_agent.sensing.tensors import Tensor, TensorError, TooLargeError

ROWS: Final = "rows"
WINDOWS: Final = "windows"


def max_values(features: Sequence[str], max_rows: int, signal: Signal | None) -> int:
    """Return how many values so many rows have."""
    return max_rows * (len(features) if signal is None else signal.size * len(signal.channels))


def rows_of(
    tensors: Sequence[Tensor], features: Sequence[str], max_rows: int, signal: Signal | None
) -> Sequence[RawRow]:
    """Return the rows.

    Args:
        tensors: of one request.
        features: ``(n_features,)`` names that a row has.
        max_rows: most rows of one request.
        signal: what a window is; None: rows are features.

    Raises:
        TooLargeError: there are more.
        TensorError: they are not what the model takes.
    """
    if signal is None:
        return _feature_rows(tensors, tuple(features), max_rows)
    return _windows_of(tensors, (signal.size, len(signal.channels)), max_rows)


def columns_of(tensors: Sequence[Tensor], max_rows: int) -> tuple[int, dict[str, list[RawValue]]]:
    """Return the number of rows, and by name the column ``(n_rows,)`` that each tensor is.

    Raises:
        TooLargeError: there are more rows.
        TensorError: there is no row, a name is there twice, or a tensor has another number of rows.
    """
    _verify_once(tensors)
    n_rows = tensors[0].shape[0] if tensors else 0
    for tensor in tensors:
        if tensor.shape not in {(n_rows,), (n_rows, 1)}:
            raise TensorError(f"input {tensor.name!r}: shape {list(tensor.shape)}, not [{n_rows}] or [{n_rows}, 1]")
    _verify_count(n_rows, max_rows, "rows")
    return n_rows, {tensor.name: tensor.values for tensor in tensors}


def _feature_rows(tensors: Sequence[Tensor], features: tuple[str, ...], max_rows: int) -> Sequence[RawRow]:
    if len(tensors) == 1 and tensors[0].name == ROWS and features != (ROWS,):
        (whole,) = tensors
        if len(whole.shape) != 2 or whole.shape[1] != len(features):  # noqa: PLR2004 - rows and columns
            raise TensorError(f"input {ROWS!r}: shape {list(whole.shape)}, a row has {len(features)} values")
        n_rows, width = whole.shape
        _verify_count(n_rows, max_rows, "rows")
        columns = [whole.values[place::width] for place in range(width)]
    else:
        _verify_once(tensors)
        _verify_names([tensor.name for tensor in tensors], features)
        _, named = columns_of(tensors, max_rows)
        columns = [named[name] for name in features]
    return list(zip(*columns, strict=True))


def _windows_of(tensors: Sequence[Tensor], shape: tuple[int, int], max_rows: int) -> Sequence[RawRow]:
    """Return the readings of each window, ``(size * n_channels,)``."""
    size, n_channels = shape
    if [tensor.name for tensor in tensors] != [WINDOWS] or not tensors[0].datatype.startswith(("FP", "INT", "UINT")):
        raise TensorError(f"the model takes windows of raw readings: send one input {WINDOWS!r} of numbers")
    (whole,) = tensors
    if whole.shape[1:] != shape:
        raise TensorError(
            f"input {WINDOWS!r}: shape {list(whole.shape)}, a window has {size} readings of {n_channels} channels: "
            f"[n, {size}, {n_channels}]"
        )
    n_rows, width = whole.shape[0], size * n_channels
    _verify_count(n_rows, max_rows, "windows")
    return [whole.values[at : at + width] for at in range(0, n_rows * width, width)]


def _verify_count(n_rows: int, max_rows: int, what: str) -> None:
    if n_rows < 1:
        raise TensorError(f"{n_rows} {what}; 1 to {max_rows} are taken at once")
    if n_rows > max_rows:
        raise TooLargeError(f"{n_rows} {what}; 1 to {max_rows} are taken at once")


def _verify_once(tensors: Sequence[Tensor]) -> None:
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise TensorError("an input is there twice")


def _verify_names(names: Sequence[str], features: tuple[str, ...]) -> None:
    missing = [name for name in features if name not in names]
    unknown = [name for name in names if name not in features]
    if missing:
        raise TensorError(f"no input {missing[0]!r}; send one tensor a feature, or all of them as {ROWS!r}")
    if unknown:
        raise TensorError(f"input {unknown[0]!r} is no feature of the model")
