"""Fuzzes what reads bundles, settings and rows: ``python -m tests.fuzz.bundle_fuzzer PARSER CORPUS… -FLAG=…``.

It is guided by coverage. A parser gives a value or raises BundleError; it raises nothing else, takes little memory, and
is done soon. The flags are libFuzzer's; the first corpus gets what is found. ``tests/fuzz/corpus/PARSER`` keeps the
smallest inputs that reach each line from each other; the input of a crash is kept there too, once it is mended.
"""

import importlib
import io
import os
import resource
import sys
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fuzz.json_mutator import mutate_json

if TYPE_CHECKING:
    from edge_agent.bundle import Manifest
    from edge_agent.raw_signal import Signal
    from edge_agent.sensing.http_message import Response
    from edge_agent.sensing.inference_protocol import Inference

# Beyond what the process has when it begins, libFuzzer's own corpus included.
MAX_MEMORY_BYTES: Final = 128 << 20
_INSTRUMENTED: Final = (
    "edge_agent.strict_json",
    "edge_agent.configuration",
    "edge_agent.settings",
    "edge_agent.bundle",
    "edge_agent.bundle_layout",
    "edge_agent.bundle_file",
    "edge_agent.update_file",
    "edge_agent.sensing.http_message",
    "edge_agent.sensing.inference_protocol",
    "edge_agent.sensing.json_lines",
    "edge_agent.sensing.json_rows",
    "edge_agent.sensing.mqtt_source",
    "edge_agent.sensing.socket_source",
    "edge_agent.sensing.tensors",
    "exporter.bundles.materials",
)
_SMALL_BYTES: Final = 1 << 16
_FEATURES: Final = ("a", "b", "c")
_MOST_ROWS: Final = 64
# Three readings of two channels.
_WINDOW_VALUES: Final = 6


def parse_manifest(data: bytes) -> None:
    from edge_agent.bundle import parse_manifest

    parse_manifest(data)


def parse_sbom(data: bytes) -> None:
    from exporter.bundles.materials import parse_sbom

    parse_sbom(data)


def read_packed(data: bytes) -> None:
    """Read the bytes as a packed bundle, and then as the manifest of one whose records are all in order."""
    from edge_agent.errors import BundleError

    try:
        _read_all(data)
    except BundleError:
        _read_all(_packed_around(data))


def _read_all(data: bytes) -> None:
    from edge_agent.bundle import bundle_files
    from edge_agent.bundle_file import PackedBundle

    bundle = PackedBundle(io.BytesIO(data))
    for file in bundle_files(bundle.manifest):
        for _ in bundle.chunks(file):
            pass


def read_update(data: bytes) -> None:
    """Read the bytes as an update file, and then as the hint of one whose records are all in order."""
    from edge_agent.bundle_layout import Entry, closing, local_header
    from edge_agent.errors import BundleError
    from edge_agent.update_file import HINT_NAME, UpdateFile

    try:
        update = UpdateFile(io.BytesIO(data))
    except BundleError:
        entry = Entry(HINT_NAME, len(data), zlib.crc32(data), 0)
        update = UpdateFile(io.BytesIO(local_header(entry) + data + closing([entry])))
    for _ in update.chunks(f"metadata/{update.bundle.version}.root.json") or ():
        pass


def read_settings(data: bytes) -> None:
    """Read the bytes as an agent's settings, and look for what contradicts itself in them."""
    from edge_agent.configuration import ConfigurationError, parse_toml
    from edge_agent.errors import BundleError
    from edge_agent.settings import AgentSettings, problems_of

    try:
        problems_of(parse_toml(data, AgentSettings, "agent.toml"))
    except ConfigurationError as error:
        # All parsers of this module refuse in the same way.
        raise BundleError(str(error)) from error


def read_request(data: bytes) -> None:
    """Read the bytes as an HTTP request for inference, or, where they have no head, as the body of one; answer it."""
    from edge_agent.errors import BundleError
    from edge_agent.sensing.http_message import HttpError, encode_response, parse_head
    from edge_agent.sensing.inference_protocol import LENGTH_HEADER, WHOLE_WINDOW, parse_inference, parse_payload

    head_bytes, end, body = data.partition(b"\r\n\r\n")
    try:
        json_length = None
        if end:
            head = parse_head(head_bytes)
            json_length = head.headers.get(LENGTH_HEADER.lower())
            body = body[: head.length]
        else:
            body = data
        # A model of raw readings takes the same bodies in another form, and must refuse or take them as well.
        with suppress(HttpError):
            for payload in parse_inference(body, json_length, _FEATURES[:2], _MOST_ROWS, _small_signal()).payloads:
                assert len(parse_payload(payload, WHOLE_WINDOW)) == _WINDOW_VALUES
        inference = parse_inference(body, json_length, _FEATURES, _MOST_ROWS)
        for payload in inference.payloads:
            assert len(parse_payload(payload, _FEATURES)) == len(_FEATURES)
        assert 1 <= len(inference.payloads) <= _MOST_ROWS
        encode_response(_answer_to(inference), is_kept_alive=True)
    except HttpError as error:
        raise BundleError(str(error)) from error


def _answer_to(inference: "Inference") -> "Response":
    """Return an answer with a row of each sort in it, in the form that the request asks for."""
    from edge_agent.sensing.inference_protocol import Scored, inference_response

    answered, refused = Scored("one.1", 1, "a", 0.5, 0.9, (0.9, 0.1)), Scored(refused="malformed: no")
    scored = [answered, *(refused for _ in inference.payloads[1:])]
    return inference_response(inference, scored, _labelled_manifest())


@cache
def _small_signal() -> "Signal":
    from edge_agent.raw_signal import Signal, SignalChannel

    return Signal(100.0, 3, 1, tuple(SignalChannel(name, ("mean",)) for name in _FEATURES[:2]))


@cache
def _labelled_manifest() -> "Manifest":
    from edge_agent.bundle import parse_manifest

    kept = Path(__file__).parent / "corpus" / "manifest"
    for path in sorted(kept.iterdir()):
        with suppress(Exception):
            manifest = parse_manifest(path.read_bytes())
            if len(manifest.labels) == 2:
                return manifest
    raise LookupError(f"{kept} has no manifest with two labels")


def read_lines(data: bytes) -> None:
    """Read the bytes as lines of rows, by every source that takes them: all must find the same rows, however cut."""
    from edge_agent.scoring.schema import Unreadable
    from edge_agent.sensing.json_rows import parse_packed_row, parse_row
    from edge_agent.sensing.mqtt_source import parse_kept
    from edge_agent.sensing.socket_source import Lines

    whole = [line for line in data.split(b"\n") if line.strip()]
    # A writer's pieces may end anywhere; where, the bytes say themselves.
    step = 1 + (data[0] if data else 0) % 7
    lines = Lines()
    cut = [line for at in range(0, len(data), step) for line in lines.split(data[at : at + step])] + lines.end()
    assert cut == whole
    rows = [parse_row(line, _FEATURES) for line in whole]
    assert all(type(value) in {float, int, str, type(None)} for row in rows for value in row)
    # NaN is not equal to itself, and is written so.
    assert repr(_read_file(data)) == repr(rows)
    assert [repr(parse_kept(b"\0\1" + line, _FEATURES)) for line in whole] == [repr(row) for row in rows]
    parse_packed_row(data, _FEATURES)
    if rows and all(isinstance(row, Unreadable) for row in rows):
        # All parsers of this module refuse in the same way.
        from edge_agent.errors import BundleError

        raise BundleError("no row")


def _read_file(data: bytes) -> list[object]:
    """Return the rows that a file of these bytes has."""
    from edge_agent.sensing.json_lines import JsonLines

    descriptor = os.memfd_create("rows")
    try:
        os.write(descriptor, data)
        source = JsonLines(f"/proc/self/fd/{descriptor}", _FEATURES)
        rows: list[object] = [row.values for row in source.ready_rows(len(data) + 1)]
        source.close()
    finally:
        os.close(descriptor)
    return rows


def _packed_around(manifest: bytes) -> bytes:
    """Pack a manifest with files of the lengths that it names, as far as they are small."""
    from edge_agent.bundle import MANIFEST_NAME, bundle_files, parse_manifest
    from edge_agent.bundle_layout import Entry, closing, local_header

    contents = [(MANIFEST_NAME, manifest)]
    contents += [
        (file.name, bytes(file.size_bytes))
        for file in bundle_files(parse_manifest(manifest))
        if file.size_bytes <= _SMALL_BYTES
    ]
    packed, entries = b"", []
    for name, data in contents:
        entries.append(Entry(name, len(data), zlib.crc32(data), len(packed)))
        packed += local_header(entries[-1]) + data
    return packed + closing(entries)


def raise_another_error(data: bytes) -> None:
    """A parser that is wrong, to see that it is found: a mapping is read without asking."""
    {b"PK": 1}[data[:2]]


def take_memory(data: bytes) -> None:
    """A parser that is wrong: it believes a length."""
    bytearray(int.from_bytes(data[:4].ljust(4, b"\xff"), "big"))


def never_end(data: bytes) -> None:
    """A parser that is wrong: it waits for a byte that does not come."""
    while not data.startswith(b"PK\3\4PK\3\4"):
        pass


PARSERS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "lines": read_lines,
    "manifest": parse_manifest,
    "packed": read_packed,
    "request": read_request,
    "sbom": parse_sbom,
    "settings": read_settings,
    "update": read_update,
}
WRONG: Final[Mapping[str, Callable[[bytes], None]]] = {
    "raises": raise_another_error,
    "allocates": take_memory,
    "hangs": never_end,
}


def main(arguments: list[str]) -> None:
    """Fuzz one parser until libFuzzer ends the process."""
    import atheris

    parse = {**PARSERS, **WRONG}[arguments[1]]
    with atheris.instrument_imports(include=list(_INSTRUMENTED)):
        for module in _INSTRUMENTED:
            importlib.import_module(module)
    from edge_agent.errors import BundleError

    def is_value_or_bundle_error(data: bytes) -> None:
        with suppress(BundleError):
            parse(data)

    def mutate(data: bytes, max_bytes: int, seed: int) -> bytes:
        changed = mutate_json(data, max_bytes, seed) if seed % 2 else None
        return atheris.Mutate(data, max_bytes) if changed is None else changed

    atheris.Setup([arguments[0], *arguments[2:]], is_value_or_bundle_error, custom_mutator=mutate)
    _bound_memory()
    atheris.Fuzz()


def _bound_memory() -> None:
    """Let anything that takes more than `MAX_MEMORY_BYTES` fail with MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = pages * resource.getpagesize() + MAX_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main(sys.argv)
