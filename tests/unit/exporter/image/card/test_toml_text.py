import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.image.card.toml_text import Value, toml_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=3), lambda inner: st.dictionaries(TEXTS, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_written_reads_the_same(table):
    assert tomllib.loads(toml_text(table)) == table


@pytest.mark.parametrize("text", ['"', "\\", "\n", "a\r\nb = 1", "\x7f", "\x00", "]", "é😀", "[x]\ny=1"])
def test_no_text_ends_its_line(text):
    assert tomllib.loads(toml_text({"a": {text: text}, "b": [text]})) == {"a": {text: text}, "b": [text]}


def test_it_reads_like_a_file_that_a_person_wrote():
    table: dict[str, Value] = {
        "device": "press-1",
        "broker": {"host": "b.example", "port": 1883},
        "columns": ["a", "b"],
        "empty": {},
    }
    assert toml_text(table) == (
        'device = "press-1"\ncolumns = ["a", "b"]\n\n[broker]\nhost = "b.example"\nport = 1883\n\n[empty]\n'
    )
