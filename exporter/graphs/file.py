"""Reads an ONNX file, which is untrusted input: its size, its parts elsewhere, its operators, whether it loads at all.

What the model means is none of its business.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import TensorProto, inliner

from exporter.errors import ModelError
from exporter.graphs.surgery import graphs_of, nodes_of, tensors_of

MAX_BYTES: Final = 512 << 20
# What every ONNX Runtime and the converters know.
_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
_TRIAL_S: Final = 180.0


def read_onnx(path: Path) -> onnx.ModelProto:
    """Return the model in a file, with its external data loaded and its functions inlined.

    Raises:
        ModelError: unreadable, too large, no ONNX model, refused by ONNX's checker or by ONNX Runtime, or one with
            custom operators, or with data outside of the file's folder.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: larger than the {MAX_BYTES} bytes that are read")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse_onnx(data, str(path), path.parent)


def parse_onnx(data: bytes, where: str, folder: Path | None = None) -> onnx.ModelProto:
    """Return the model in the bytes of an ONNX file.

    Args:
        data: of the file.
        where: names it in messages.
        folder: where its external data may lie; None: it may have none.

    Raises:
        ModelError: as `read_onnx` does.
    """
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(f"{where}: not an ONNX file ({error})") from error
    if not proto.graph.node or not proto.graph.output:
        raise ModelError(f"{where}: not an ONNX model: it has no operators or no output")
    _load_external_data(proto, where, folder)
    _verify_domains(proto, where)
    _try_elsewhere(proto, where)
    try:
        onnx.checker.check_model(proto)
        # Local functions, as PyTorch's newer exporter writes them, become plain operators.
        inlined: onnx.ModelProto = inliner.inline_local_functions(proto) if proto.functions else proto
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise ModelError(f"{where}: ONNX's checker refuses it: {' '.join(str(error).split())[:300]}") from error
    return inlined


def _load_external_data(proto: onnx.ModelProto, where: str, folder: Path | None) -> None:
    left = MAX_BYTES
    for tensor in tensors_of(proto.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        data = _external_bytes(entries, f"{where}: tensor `{tensor.name}`", folder, left)
        left -= len(data)
        tensor.raw_data, tensor.data_location = data, TensorProto.DEFAULT
        del tensor.external_data[:]


def _external_bytes(entries: dict[str, str], where: str, folder: Path | None, most: int) -> bytes:
    location = entries.get("location", "")
    if folder is None:
        raise ModelError(f"{where} lies in another file, {location!r}; save the model as one file")
    try:
        path = (folder / location).resolve()
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            raise ModelError(f"{where} lies in {location!r}, which is no file in the model's folder")
        size = path.stat().st_size - offset if length < 0 else length
        if offset < 0 or not 0 <= size <= most:
            raise ModelError(f"{where}: {size} bytes from {offset} on; at most {most} are read")
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
    except (OSError, ValueError) as error:
        raise ModelError(f"{where} lies in {location!r}, which cannot be read: {error}") from error
    if len(data) != size:
        raise ModelError(f"{where}: {location!r} ends before its {size} bytes from {offset} on")
    return data


def _verify_domains(proto: onnx.ModelProto, where: str) -> None:
    local = {function.domain for function in proto.functions}
    for node in _all_nodes(proto):
        if node.domain not in _DOMAINS | local:
            raise ModelError(
                f"{where}: operator {node.op_type} of {node.domain} is custom; export the model with operators of "
                "ONNX itself"
            )
    unknown = [entry.domain for entry in proto.opset_import if entry.domain not in _DOMAINS | local]
    for entry in [entry for entry in proto.opset_import if entry.domain in unknown]:
        # Declared, and used by nothing.
        proto.opset_import.remove(entry)


def _all_nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from nodes_of(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield node
            for graph in graphs_of(node):
                yield from nodes_of(graph)


def _try_elsewhere(proto: onnx.ModelProto, where: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        try:
            path.write_bytes(proto.SerializeToString())
            trial = subprocess.run(
                [sys.executable, "-m", "exporter.graphs.trial", str(path)],
                capture_output=True,
                text=True,
                timeout=_TRIAL_S,
                check=False,
                cwd=Path(__file__).parents[2],
            )
        except subprocess.TimeoutExpired as error:
            raise ModelError(f"{where}: does not load within {_TRIAL_S:.0f} s") from error
        except (EncodeError, ValueError) as error:
            raise ModelError(f"{where}: cannot be written again: {error}") from error
    if trial.returncode == 1 and trial.stdout.strip():
        raise ModelError(f"{where}: does not load: {trial.stdout.strip()}")
    if trial.returncode != 0:
        last = next(iter(trial.stderr.strip().splitlines()[-1:]), "")[:300]
        raise ModelError(f"{where}: ends the process that loads it (code {trial.returncode}) {last}".rstrip())


def opset_of(proto: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    versions = [entry.version for entry in proto.opset_import if entry.domain in {"", "ai.onnx"}]
    return max(versions, default=1)
