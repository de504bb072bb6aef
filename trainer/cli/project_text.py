"""Writes a project as commented TOML: what was guessed, and every other key with its default, explained.

Keys, defaults and explanations come from the types in `trainer.project`, so that they cannot differ from them.
"""

import inspect
import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.bundle import Feature
from trainer.features.guess import Guess
from trainer.project.project import Project
from trainer.project.toml_text import toml_of

_WIDTH: Final = 100
# Written as tables of their own, or in a file of their own.
_NOT_KEYS: Final = frozenset({"features", "signal", "schema"})
# TOML has no word for "none": the key is left away.
NOT_SET: Final = "(not set)"


def project_text(
    guess: Guess,
    name: str,
    data_paths: Sequence[str],
    *,
    schema: str | None = None,
    approval: Sequence[str] = (),
) -> str:
    """Return the text of a project file.

    Args:
        guess: over the files at ``data_paths``.
        name: of the model.
        data_paths: as the project file names them.
        schema: name of the schema file beside it, if there is one.
        approval: stages to which only a person promotes.
    """
    data: dict[str, object] = {"path": tuple(data_paths)}
    if guess.training_rows is not None:
        data["rows"] = (0, guess.training_rows)
    if guess.timestamp is not None:
        data["timestamp"] = guess.timestamp
    if guess.entity is not None:
        data["entity"] = guess.entity
    if schema is not None:
        data["schema"] = schema
    target: dict[str, object] = {"column": guess.target.column, "task": guess.target.task}
    if guess.target.labels:
        target["labels"] = guess.target.labels
    written: dict[str, dict[str, object]] = {"data": data, "target": target}
    if approval:
        written["registry"] = {"approval": tuple(approval)}
    notes = {"data": guess.training_reason, "target": f"Guessed from {guess.target_reason}."}
    lines = [
        "# A learning problem of Fieldloop, guessed from the data: read it, and correct what is wrong.",
        "# A key right behind a # shows its default: take away the # to change it.",
        "",
        *_keys(Project, {"name": name}),
    ]
    for field in msgspec.structs.fields(Project):
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            known = written.get(field.name, {})
            lines += ["", f"[{field.name}]", *_about(field.type, notes.get(field.name, ""))]
            lines += _keys(field.type, known)
            lines += _nested(field.type, field.name)
    lines += ["", *_features(guess)]
    return "\n".join(lines) + "\n"


def _keys(kind: type[Struct], written: dict[str, object]) -> list[str]:
    """Return a section's keys: those in ``written`` as they are, the others as comments with their defaults."""
    explained = explanations_of(kind)
    lines = []
    for field in msgspec.structs.fields(kind):
        if _is_section(field.type) or (kind is Project and field.name in _NOT_KEYS):
            continue
        about = explained.get(field.name, "")
        lines += _comment(about[:1].upper() + about[1:])
        if field.name in written:
            lines.append(f"{field.name} = {toml_of(written[field.name])}")
            continue
        default = field.default
        if default is None or default is msgspec.NODEFAULT:
            lines.append(f"#{field.name} = {NOT_SET}")
        else:
            lines.append(f"#{field.name} = {toml_of(default)}")
    return lines


def _nested(kind: type[Struct], prefix: str) -> list[str]:
    lines = []
    for field in msgspec.structs.fields(kind):
        if _is_section(field.type):
            lines += ["", f"[{prefix}.{field.name}]", *_about(field.type, ""), *_keys(field.type, {})]
    return lines


def _features(guess: Guess) -> list[str]:
    lines = [
        *_comment(
            "The model's inputs, in order. On the device, numbers outside valid_min to valid_max (here: what was "
            'observed, widened) are counted and flagged, or refused with on_out_of_range = "refuse"; rows without a '
            'value are refused, or flagged with on_missing = "flag".'
        ),
    ]
    special = [(guess.timestamp, "it orders the rows"), (guess.entity, "it names the unit that a row is of")]
    lines += [f"# No input: {toml_of(name)}: {why}." for name, why in special if name is not None]
    lines += [f"# Left out: {toml_of(column.name)}: {_one_line(column.reason)}." for column in guess.left_out]
    for feature in guess.features:
        lines += ["", "[[features]]", f"name = {toml_of(feature.name)}", *_feature_keys(feature)]
    return lines


def _feature_keys(feature: Feature) -> list[str]:
    lines = []
    for field in msgspec.structs.fields(Feature):
        value = getattr(feature, field.name)
        if field.name == "name" or (value == field.default and field.name != "dtype"):
            continue
        lines.append(f"{field.name} = {toml_of(value)}")
    if feature.dtype == "float32":
        lines.append('#unit = ""')
    return lines


def _about(kind: type[Struct], note: str) -> list[str]:
    first = (inspect.getdoc(kind) or "").split("\n\n", 1)[0]
    return [*_comment(_plain(first)), *_comment(note)]


def explanations_of(kind: type[Struct]) -> dict[str, str]:
    """Return what a type's docstring says of its attributes; empty where Python dropped docstrings."""
    _, _, text = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        start = re.fullmatch(r" {4}(\w+(?:, \w+)*): (.*)", line)
        if start:
            names = start[1].split(", ")
            found |= dict.fromkeys(names, start[2])
        elif line.startswith(" " * 8) and names:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return {name: _plain(about) for name, about in found.items()}


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _plain(text: str) -> str:
    return _one_line(re.sub(r"`+", "", text).replace("None:", "not set:"))


def _one_line(text: str) -> str:
    # A line break or another control character in a comment would end it, or be no TOML.
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _comment(text: str) -> list[str]:
    lines: list[str] = []
    for word in _one_line(text).split():
        if lines and len(lines[-1]) + len(word) < _WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"# {word}")
    return lines
