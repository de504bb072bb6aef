"""The Open Inference Protocol v2 as this agent speaks it: what a request asks, what an answer says.

Rows come in one of two forms. One tensor ``rows``, ``(n_rows, n_features)`` in the manifest's order; or one tensor a
feature, named as it, ``(n_rows,)`` or ``(n_rows, 1)``, categories as texts (BYTES). Where the bundle makes its features
of raw readings, a row is a window of them: one tensor ``windows``, ``(n_rows, size, n_channels)``. It does no I/O, and
scores nothing.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.bundle import Manifest
from edge_agent.raw_signal import Signal
from edge_agent.scoring.schema import RawRow, Unreadable
from edge_agent.sensing.http_message import HttpError, Response
from edge_agent.sensing.tensor_rows import ROWS, WINDOWS, max_values, rows_of
from edge_agent.sensing.tensors import (
    BYTES,
    DATATYPES,
    Tensor,
    TensorError,
    TooLargeError,
    decode_bytes,
    decode_json,
    encode_bytes,
)

# What an inlet is opened for where its rows are windows; the name of no feature.
WHOLE_WINDOW: Final = ("\0window",)
# Of the binary extension: where the JSON of a body ends and its tensors begin.
LENGTH_HEADER: Final = "Inference-Header-Content-Length"

_NUMBER: Final = "FP64"
_DATATYPES: Final = {
    "label": BYTES,
    "confidence": _NUMBER,
    "probabilities": _NUMBER,
    "value": _NUMBER,
    "prediction_id": BYTES,
    "refused": BYTES,
}

_PAYLOADS: Final = msgspec.msgpack.Encoder()
_ROW: Final = msgspec.msgpack.Decoder(dict[str, float | str | None] | list[float | None])


class _Parameters(Struct, frozen=True):
    binary_data_size: int | None = None
    binary_data: bool = False
    binary_data_output: bool = False


class _Input(Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: _Parameters = _Parameters()
    # Left as it is until the shape has said how much of it there may be; empty: none is given.
    data: msgspec.Raw = msgspec.Raw()


class _Output(Struct, frozen=True):
    name: str
    parameters: _Parameters = _Parameters()


class _Request(Struct, frozen=True):
    inputs: tuple[_Input, ...]
    id: str | None = None
    outputs: tuple[_Output, ...] = ()
    parameters: _Parameters = _Parameters()


_REQUEST: Final = msgspec.json.Decoder(_Request)


class Scored(Struct, frozen=True):
    """What came of one row.

    Attributes:
        refused: why it has no answer; empty where it has one.
    """

    prediction_id: str = ""
    version: int = 0
    label: str = ""
    value: float = float("nan")
    confidence: float = float("nan")
    outputs: tuple[float, ...] = ()
    refused: str = ""


class Inference(Struct, frozen=True):
    """One request, taken apart.

    Attributes:
        payloads: its rows, as `parse_payload` reads them.
        wanted: names of the outputs; empty for all.
        binary: names of the outputs that are wanted as bytes; None for all of them.
        id: given back with the answer.
    """

    payloads: tuple[bytes, ...]
    wanted: tuple[str, ...]
    binary: frozenset[str] | None
    id: str | None


def parse_payload(payload: bytes, features: Sequence[str]) -> RawRow:
    """Return the values of ``features`` of one row of a request.

    A window is a row of all its readings. A row that lacks a feature, or is not what it shall be, was meant for another
    bundle, that scored when it came: it is `Unreadable`.
    """
    try:
        content = _ROW.decode(payload)
        if isinstance(content, list):
            return list(content) if tuple(features) == WHOLE_WINDOW else Unreadable()
        return [content[name] for name in features]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        return Unreadable()


def parse_inference(
    body: bytes, json_length: str | None, features: Sequence[str], max_rows: int, signal: Signal | None = None
) -> Inference:
    """Take apart the body of an inference request.

    Args:
        body: JSON, and behind it the bytes of binary tensors.
        json_length: what `LENGTH_HEADER` says; None where all is JSON.
        features: ``(n_features,)`` names that a row has.
        max_rows: most rows of one request.
        signal: what a window is; None: rows are features.

    Raises:
        HttpError: it is no such request, or asks for too much at once; the message says what is wrong with it.
    """
    inference, rows = parse_rows(body, json_length, features, max_rows, signal)
    payloads = (dict(zip(features, row, strict=True)) if signal is None else list(row) for row in rows)
    return msgspec.structs.replace(inference, payloads=tuple(map(_PAYLOADS.encode, payloads)))


def parse_rows(
    body: bytes, json_length: str | None, features: Sequence[str], max_rows: int, signal: Signal | None = None
) -> tuple[Inference, Sequence[RawRow]]:
    """Take apart a request whose rows are scored at once; as `parse_inference`, with the rows instead of payloads."""
    inference, tensors = parse_tensors(body, json_length, max_values(features, max_rows, signal))
    return inference, parse_tensor_rows(tensors, features, max_rows, signal)


def parse_tensors(body: bytes, json_length: str | None, limit: int) -> tuple[Inference, list[Tensor]]:
    """Take a request apart as far as it says itself what is in it: which rows its tensors make is asked later.

    Args:
        body: JSON, and behind it the bytes of binary tensors.
        json_length: what `LENGTH_HEADER` says; None where all is JSON.
        limit: most values of one tensor.

    Raises:
        HttpError: as `parse_inference`.
    """
    json_part, binary_part = _divided(body, json_length)
    try:
        request = _REQUEST.decode(json_part)
        tensors = _tensors_of(request, binary_part, limit)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(f"not a request of the Open Inference Protocol: {error} (NaN is written null)") from error
    except TooLargeError as error:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from error
    except TensorError as error:
        raise _bad(str(error)) from error
    wanted = tuple(output.name for output in request.outputs)
    unknown = [name for name in wanted if name not in _DATATYPES]
    if unknown:
        raise _bad(f"no output {unknown[0]!r}; there are {', '.join(_DATATYPES)}")
    binary = frozenset(output.name for output in request.outputs if output.parameters.binary_data)
    everything_binary = request.parameters.binary_data_output and not request.outputs
    return Inference((), wanted, None if everything_binary else binary, request.id), tensors


def parse_tensor_rows(
    tensors: Sequence[Tensor], features: Sequence[str], max_rows: int, signal: Signal | None = None
) -> Sequence[RawRow]:
    """Return the rows that the tensors of a request make.

    Raises:
        HttpError: they make none, or too many.
    """
    try:
        return rows_of(tensors, features, max_rows, signal)
    except TooLargeError as error:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from error
    except TensorError as error:
        raise _bad(str(error)) from error


def inference_response(inference: Inference, scored: Sequence[Scored], manifest: Manifest) -> Response:
    """Return the answer to a request whose rows have all been scored or refused."""
    n_rows = len(scored)
    columns: dict[str, tuple[list[int], list[float | str]]] = {}
    if manifest.labels:
        n_labels = len(manifest.labels)
        gap = (float("nan"),) * n_labels
        columns["label"] = [n_rows], [row.label for row in scored]
        columns["confidence"] = [n_rows], [row.confidence for row in scored]
        # A bundle that took over in between may have other labels.
        outputs = [row.outputs if len(row.outputs) == n_labels else gap for row in scored]
        columns["probabilities"] = [n_rows, n_labels], [value for row in outputs for value in row]
    else:
        columns["value"] = [n_rows], [row.value for row in scored]
    columns["prediction_id"] = [n_rows], [row.prediction_id for row in scored]
    if any(row.refused for row in scored) or "refused" in inference.wanted:
        columns["refused"] = [n_rows], [row.refused for row in scored]
    chosen = [name for name in columns if not inference.wanted or name in {*inference.wanted, "refused"}]
    outputs_told: list[dict[str, object]] = []
    tail: list[bytes] = []
    for name in chosen:
        shape, values = columns[name]
        told: dict[str, object] = {"name": name, "datatype": _DATATYPES[name], "shape": shape}
        if inference.binary is None or name in inference.binary:
            tail.append(encode_bytes(_DATATYPES[name], values))
            told["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            # JSON has no NaN: msgspec writes null.
            told["data"] = values
        outputs_told.append(told)
    versions = sorted({row.version for row in scored if row.version})
    answer: dict[str, object] = {"model_name": manifest.name, "model_version": str(versions[-1] if versions else 0)}
    if len(versions) > 1:
        answer["parameters"] = {"model_versions": ",".join(map(str, versions))}
    if inference.id is not None:
        answer["id"] = inference.id
    body = msgspec.json.encode(answer | {"outputs": outputs_told})
    if not tail:
        return Response(HTTPStatus.OK, body)
    headers = ((LENGTH_HEADER, str(len(body))),)
    return Response(HTTPStatus.OK, body + b"".join(tail), "application/octet-stream", headers)


def model_metadata(manifest: Manifest, features: Sequence[str]) -> Mapping[str, object]:
    """Return what the protocol tells of a model: a tensor of rows or windows, or one a feature with categories."""
    is_category = [feature.dtype == "category" for feature in manifest.features]
    signal = manifest.inputs.signal
    if signal is not None:
        inputs = [{"name": WINDOWS, "datatype": "FP32", "shape": [-1, signal.size, len(signal.channels)]}]
    elif len(is_category) == len(features) and any(is_category):
        inputs = [
            {"name": name, "datatype": BYTES if words else "FP32", "shape": [-1, 1]}
            for name, words in zip(features, is_category, strict=True)
        ]
    else:
        inputs = [{"name": ROWS, "datatype": "FP32", "shape": [-1, len(features)]}]
    names = ("label", "confidence", "probabilities") if manifest.labels else ("value",)
    return {
        "name": manifest.name,
        "versions": [str(manifest.version)],
        "platform": "fieldloop",
        "inputs": inputs,
        "outputs": [
            {
                "name": name,
                "datatype": _DATATYPES[name],
                "shape": [-1, len(manifest.labels)] if name == "probabilities" else [-1],
            }
            for name in (*names, "prediction_id")
        ],
    }


def _divided(body: bytes, json_length: str | None) -> tuple[bytes, bytes]:
    if json_length is None:
        return body, b""
    if not (json_length.isascii() and json_length.isdecimal()) or int(json_length) > len(body):
        raise _bad(f"{LENGTH_HEADER} is {json_length[:40]!r}, the body has {len(body)} bytes")
    return body[: int(json_length)], body[int(json_length) :]


def _tensors_of(request: _Request, binary: bytes, limit: int) -> list[Tensor]:
    tensors: list[Tensor] = []
    at = 0
    for each in request.inputs:
        if each.datatype not in DATATYPES:
            raise TensorError(f"input {each.name!r}: datatype {each.datatype!r} is not known")
        size, data = each.parameters.binary_data_size, bytes(each.data)
        if (size is None) == (not data):
            raise TensorError(f"input {each.name!r}: either data or binary_data_size must be given")
        if size is not None:
            if not 0 <= size <= len(binary) - at:
                raise TensorError(f"input {each.name!r}: {size} bytes of data, {len(binary) - at} are there")
            tensors.append(decode_bytes(each.name, each.datatype, each.shape, binary[at : at + size], limit))
            at += size
        else:
            tensors.append(decode_json(each.name, each.datatype, each.shape, data, limit))
    if at != len(binary):
        raise TensorError(f"{len(binary) - at} bytes are left over behind the inputs")
    return tensors


def _bad(message: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, message)
