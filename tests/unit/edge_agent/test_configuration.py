"""A configuration file is read whole and typed, or refused with the key that is wrong."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from edge_agent.configuration import MAX_BYTES, ConfigurationError, load_toml, parse_toml


class Ring(Struct, frozen=True):
    name: str
    share: Annotated[float, Meta(ge=0, le=1)] = 1.0


class Source(Struct, frozen=True):
    path: str = ""
    first_row: int = 0
    kind: Literal["csv", "mqtt"] = "csv"


class Settings(Struct, frozen=True):
    device: str
    source: Source = Source()
    backup: Source | None = None
    rings: tuple[Ring, ...] = ()
    prefer: tuple[str, ...] = ()


def parse(text: str) -> Settings:
    return parse_toml(text.encode(), Settings, "agent.toml")


def test_a_file_becomes_a_value_with_its_defaults(tmp_path: Path):
    path = tmp_path / "agent.toml"
    path.write_text('device = "d"\nprefer = ["a"]\n[source]\nfirst_row = 3\n[[rings]]\nname = "first"\nshare = 0.1\n')
    assert load_toml(path, Settings) == Settings("d", Source(first_row=3), rings=(Ring("first", 0.1),), prefer=("a",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('device = "d"\nsorce = 1', "unknown key 'sorce'; did you mean 'source'?"),
        ('device = "d"\n[source]\nfrist_row = 1', "unknown key 'source.frist_row'; did you mean 'source.first_row'?"),
        ('device = "d"\n[backup]\npth = "x"', "unknown key 'backup.pth'; did you mean 'backup.path'?"),
        (
            'device = "d"\n[[rings]]\nname = "a"\n[[rings]]\nnmae = "b"',
            "unknown key 'rings[1].nmae'; did you mean 'rings[1].name'?",
        ),
        ('device = "d"\n[source]\nkind = "cvs"', "key 'source.kind': unknown value 'cvs'; did you mean 'csv'?"),
        ('device = "d"\n[source]\nkind = "?"', "key 'source.kind': unknown value '?'; known here: csv, mqtt"),
        ('device = "d"\n[source]\nkind = 1', "key 'source.kind': expected `str`, got `int`"),
        ('device = "d"\n[source]\nzzz = 1', "unknown key 'source.zzz'; known here: first_row, kind, path"),
        ('device = "d"\n[source]\nfirst_row = "3"', "key 'source.first_row': expected `int`, got `str`"),
        ('device = "d"\n[[rings]]\nname = "a"\nshare = 2.0', "key 'rings[0].share': expected `float` <= 1.0"),
        ("", "missing required field `device`"),
        ("device = ", "not a TOML file"),
    ],
)
def test_what_is_wrong_is_named_with_file_key_and_remedy(text: str, message: str):
    with pytest.raises(ConfigurationError, match=r"^agent\.toml: ") as caught:
        parse(text)
    assert message.lower() in str(caught.value).lower()


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ConfigurationError, match="not a TOML file"):
        parse_toml(b"\xff\xfe", Settings, "agent.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"absent\.toml: cannot be read"):
        load_toml(tmp_path / "absent.toml", Settings)


def test_what_is_nested_too_deeply_is_refused():
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        parse_toml(b"a = " + b"[" * 3000, Settings, "s.toml")


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path: Path):
    path = tmp_path / "s.toml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigurationError, match="larger than 1048576 bytes"):
        load_toml(path, Settings)
