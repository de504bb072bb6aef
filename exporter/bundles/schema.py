"""Describes the manifest as JSON Schema (2020-12), made from the types that read it and from their docstrings.

The schema is never edited: ``python -m exporter.bundles.schema docs/manifest.schema.json`` writes it, and a test
compares. What the parts of a manifest must have to do with each other is not for a schema to say; `edge_agent.bundle`
checks it.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from edge_agent import bundle, raw_signal
from edge_agent.bundle import MANIFEST_NAME, MAX_JSON_DEPTH, MAX_JSON_VALUES, MAX_MANIFEST_BYTES, Manifest

# A JSON document: what its parts are is for the JSON Schema specification to say.
Json: TypeAlias = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ATTRIBUTE: Final = re.compile(r"(?P<names>\w+(?:, \w+)*): (?P<text>.+)")
_INDENT: Final = 4


def build_schema() -> Json:
    """Return the schema of ``manifest.json``."""
    schema: Json = msgspec.json.schema(Manifest)
    parts: dict[str, Json] = schema["$defs"]
    for name, part in parts.items():
        _describe(part, getattr(bundle, name, None) or getattr(raw_signal, name))
    about = parts["Manifest"]["description"]
    limits = (
        f"At most {MAX_MANIFEST_BYTES} bytes of UTF-8 without a byte order mark, {MAX_JSON_VALUES} values, nested "
        f"{MAX_JSON_DEPTH} deep; no object names a key twice, every number is finite. Keys that are not described here "
        "are ignored."
    )
    return {"$schema": DIALECT, "title": MANIFEST_NAME, "description": f"{about} {limits}", **schema}


def render(schema: Json) -> bytes:
    """Return the schema as it is published: the same bytes for the same types."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=1) + b"\n"


def _describe(part: Json, kind: type) -> None:
    """Put what a docstring says of each attribute beside it, and leave the summary for the whole."""
    text = inspect.getdoc(kind) or ""
    summary, _, attributes = text.partition("Attributes:\n")
    part["description"] = " ".join(summary.split())
    for names, meaning in _attributes_of(attributes):
        for name in names:
            part["properties"][name]["description"] = meaning


def _attributes_of(section: str) -> Iterator[tuple[list[str], str]]:
    """Take a docstring's section of attributes apart: names, and what is said of them, continued lines joined."""
    entries: list[str] = []
    for line in section.splitlines():
        if line.startswith(" " * (_INDENT + 1)) and entries:
            entries[-1] += " " + line.strip()
        elif line.strip():
            entries.append(line.strip())
    for entry in entries:
        if found := _ATTRIBUTE.fullmatch(entry):
            yield found["names"].split(", "), found["text"]


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(render(build_schema()))
