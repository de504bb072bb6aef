"""Writes the codec's tables of chances as C, from those of ``broker/entropy.py``: ``python -m broker.codec.tables``.

A test compares; the tables never change, as what was once packed must stay readable.
"""

import sys
from pathlib import Path
from typing import Final

from broker.entropy import VARIANCES, normal_table

FILE: Final = Path(__file__).parent / "src" / "tables.c"
_NUMBERS_A_LINE: Final = 16


def render_tables() -> str:
    """Return the text of tables.c."""
    tables = [normal_table(index) for index in range(len(VARIANCES))]
    parts = [
        "/* Made by `python -m broker.codec.tables`; do not edit. Where the symbols of each table begin, of 2**15. */",
        '#include "stream.h"\n',
        "const uint16_t fl_variances[N_TABLES] = {",
        *_lines(VARIANCES),
        "};\n",
    ]
    for index, table in enumerate(tables):
        parts += [f"static const uint16_t starts_{index}[] = {{", *_lines(table.starts), "};\n"]
    parts += [
        "const table fl_tables[N_TABLES] = {",
        *(f"    {{{table.radius}, starts_{index}}}," for index, table in enumerate(tables)),
        "};\n",
    ]
    return "\n".join(parts)


def _lines(numbers: tuple[int, ...]) -> list[str]:
    return [
        "    " + ", ".join(map(str, numbers[at : at + _NUMBERS_A_LINE])) + ","
        for at in range(0, len(numbers), _NUMBERS_A_LINE)
    ]


if __name__ == "__main__":
    FILE.write_text(render_tables(), encoding="ascii")
    sys.stdout.write(f"{FILE}\n")
