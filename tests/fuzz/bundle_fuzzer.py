"""Fuzzes what reads bundles and settings: ``python -m tests.fuzz.bundle_fuzzer PARSER CORPUS… -FLAG=…``.

It is guided by coverage. A parser gives a value or raises BundleError; it raises nothing else, takes little memory, and
is done soon. The flags are libFuzzer's; the first corpus gets what is found. ``tests/fuzz/corpus/PARSER`` keeps the
smallest inputs that reach each line from each other; the input of a crash is kept there too, once it is mended.
"""

import importlib
import io
import resource
import sys
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.fuzz.json_mutator import mutate_json

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
    "exporter.bundles.materials",
)
_SMALL_BYTES: Final = 1 << 16


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
    "manifest": parse_manifest,
    "packed": read_packed,
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
