"""In which other forms a file of a bundle is offered: compressed, and as a difference from a file that a device has.

They are named in the signed ``custom`` part of the file's own target, and are targets beside it: signed, with length
and hash. Whatever form a device fetches, what it keeps is the file itself, compared with its own length and hash.
"""

from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.bundle import is_file_name

# A window that every zstd decoder takes unasked: 128 MiB.
MAX_WINDOW_LOG: Final = 27
# Less is no dictionary to zstd.
MIN_BASE_BYTES: Final = 8


class Forms(Struct, frozen=True):
    """Names of files in the same bundle.

    Attributes:
        compressed: the file by zstd.
        deltas: the file by zstd with another file as its dictionary; by that file's hex SHA-256.
    """

    compressed: str | None = None
    deltas: dict[str, str] = {}


def parse_forms(custom: object) -> Forms:
    """Return the forms that a target's custom part names; none where it names none, or in a way not understood here."""
    try:
        forms = msgspec.convert(custom, Forms)
    except msgspec.ValidationError:
        return Forms()
    compressed = forms.compressed if forms.compressed is not None and is_file_name(forms.compressed) else None
    return Forms(compressed, {base: name for base, name in forms.deltas.items() if is_file_name(name)})
