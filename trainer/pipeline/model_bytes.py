"""Writes a fitted estimator as skops, so that the same model gives the same bytes.

skops names parts by their address in memory, and zip files carry the time of day; both are taken out here, because a
model's hash stands in lineage and in the registry. Reading is ``exporter.models.model_file``'s.
"""

import io
import re
import zipfile
from typing import Any, Final

import skops.io

_SCHEMA: Final = "schema.json"
_ID: Final = re.compile(r'("__id__": )(\d+)')
_FILE: Final = re.compile(r"\b(\d{5,})(\.np[yz])\b")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def model_bytes(estimator: Any) -> bytes:  # noqa: ANN401 - scikit-learn ships no types
    """Return the estimator as a skops file."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    numbers: dict[str, str] = {}

    def number_of(old: str) -> str:
        return numbers.setdefault(old, str(len(numbers) + 1))

    # In the order of the text, which is the order of the estimator's attributes.
    pattern = re.compile(f"{_ID.pattern}|{_FILE.pattern}")

    def renamed(match: re.Match[str]) -> str:
        if match[1] is not None:
            return f"{match[1]}{number_of(match[2])}"
        return f"{number_of(match[3])}{match[4]}"

    schema = pattern.sub(renamed, parts.pop(_SCHEMA).decode())
    renamed_parts = {pattern.sub(renamed, name): content for name, content in parts.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in sorted({**renamed_parts, _SCHEMA: schema.encode()}.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
