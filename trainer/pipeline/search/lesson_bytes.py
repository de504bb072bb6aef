"""A lesson as bytes, for machines that have no disk in common with this one: numbers and texts, no code.

Every field is taken by its type, so that one that is added to a lesson travels with it.
"""

import io
import types
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import numpy as np

from trainer.pipeline.lesson import Lesson

# What is told of a field has no type of its own.
# ruff: noqa: ANN401


def lesson_bytes(lesson: Lesson) -> bytes:
    """Return a lesson as bytes, the same for the same lesson."""
    return msgspec.msgpack.encode(_told(lesson))


def parse_lesson(data: bytes) -> Lesson:
    """Read what `lesson_bytes` wrote.

    Raises:
        msgspec.ValidationError: it is of another version.
    """
    lesson: Lesson = _parsed(msgspec.msgpack.decode(data), Lesson)
    return lesson


def _told(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=False)
        return buffer.getvalue()
    if is_dataclass(value):
        return {field.name: _told(getattr(value, field.name)) for field in fields(value)}
    return msgspec.to_builtins(value)


def _parsed(told: Any, kind: Any) -> Any:
    if isinstance(kind, types.UnionType):
        return None if told is None else _parsed(told, next(one for one in get_args(kind) if one is not types.NoneType))
    if get_origin(kind) is np.ndarray:
        return np.load(io.BytesIO(told), allow_pickle=False)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _parsed(each, hints[name]) for name, each in told.items()})  # type: ignore[operator]  # a class
    return msgspec.convert(told, kind)
