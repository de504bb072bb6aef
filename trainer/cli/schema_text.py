"""Writes a schema as commented TOML, for people to read, correct and review."""

import msgspec

from trainer.project.schema import ColumnSchema, Schema
from trainer.project.toml_text import toml_of


def schema_text(schema: Schema) -> str:
    """Return the text of a schema file."""
    lines = [
        "# What the rows of this project must be: inferred from data. Read it, correct it, then:",
        "#   fieldloop schema review --by NAME",
        "",
        f"version = {schema.version}",
        f"target = {toml_of(schema.target)}",
        f"labels = {toml_of(schema.labels)}",
    ]
    if schema.review is not None:
        lines += ["", "# Of this content; whoever changes it reviews it again.", "[review]"]
        lines += [f"{key} = {toml_of(value)}" for key, value in msgspec.structs.asdict(schema.review).items()]
    for column in schema.columns:
        lines += ["", "[[columns]]"]
        for field in msgspec.structs.fields(ColumnSchema):
            value = getattr(column, field.name)
            if value is not None and (value != field.default or field.name in {"name", "max_missing"}):
                lines.append(f"{field.name} = {toml_of(value)}")
    return "\n".join(lines) + "\n"
