"""Finds the user's own code for a sensor or an actuator: ``module:factory``, or the name of an entry point.

A name without a colon is looked up among the entry points of the installed packages, in the group `SOURCES` or `SINKS`.
Code is only taken from where the settings say, never from a bundle.
"""

import importlib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from edge_agent.errors import SettingsError

# What only an error or a look at the settings needs is imported then: a device's memory is dear.
# ruff: noqa: PLC0415

SOURCES: Final = "fieldloop.sources"
SINKS: Final = "fieldloop.sinks"

# What runs at an import may raise anything, and may try to end the process.
_OF_THE_USER: Final = (Exception, SystemExit)

# What a factory is called with: the table `options` of the settings.
Options = Mapping[str, bool | int | float | str]


def load_factory(group: str, name: str, key: str) -> Callable[[Options], Any]:
    """Import a factory; it is not called.

    Args:
        group: of entry points.
        name: ``module:factory``, or an entry point's name.
        key: the key of the settings that says so, for the error.

    Raises:
        SettingsError: there is none of that name, it cannot be imported, or it cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    found = _imported(module_name, attribute, name, key) if attribute else _installed(group, name, key)
    if not callable(found):
        raise SettingsError(f"key {key!r}: {name} is no function that can be called, but {type(found).__name__}")
    factory: Callable[[Options], Any] = found
    return factory


def verify_factory(group: str, name: str, key: str) -> None:
    """Import a factory, and look whether it takes what it will be called with; it is not called.

    Raises:
        SettingsError: as `load_factory`; or it cannot be called with the options alone.
    """
    factory = load_factory(group, name, key)
    import inspect

    try:
        signature = inspect.signature(factory)
    except ValueError:
        # Of some functions in C nobody knows what they take.
        return
    try:
        signature.bind({})
    except TypeError as error:
        raise SettingsError(
            f"key {key!r}: {name}{signature} cannot be called with the options alone; write it as: def factory(options)"
        ) from error


def _imported(module_name: str, attribute: str, name: str, key: str) -> Any:  # noqa: ANN401 - the user's own
    try:
        found: Any = import_module(module_name)
    except _OF_THE_USER as error:
        raise SettingsError(f"key {key!r}: {name} cannot be imported: {_told(error, module_name)}") from error
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        import difflib

        there = [each for each, value in vars(found).items() if callable(value) and not each.startswith("_")]
        near = difflib.get_close_matches(attribute, there, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(sorted(there)[:10]) or 'no function'}"
        file = getattr(found, "__file__", None) or module_name
        raise SettingsError(f"key {key!r}: there is no {attribute!r} in {file}{hint}") from error
    return found


def _installed(group: str, name: str, key: str) -> Any:  # noqa: ANN401 - the user's own
    # It loads e-mail, archives and more: three megabytes, which module:factory does without.
    from importlib.metadata import entry_points

    entries = [entry for entry in entry_points(group=group) if entry.name == name]
    if len(entries) != 1:
        known = ", ".join(sorted({entry.name for entry in entry_points(group=group)})) or "none"
        what = "no entry point" if not entries else f"{len(entries)} entry points"
        raise SettingsError(
            f"key {key!r}: {what} {name!r} in the group {group!r}; installed: {known}; or write module:factory"
        )
    try:
        return entries[0].load()
    except _OF_THE_USER as error:
        told = _told(error, entries[0].value.partition(":")[0])
        raise SettingsError(f"key {key!r}: {name} ({entries[0].value}) cannot be imported: {told}") from error


def _told(error: BaseException, module_name: str) -> str:
    """Say what an import raised, in which line of the user's code, and what to do."""
    missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    if missing and missing.split(".", maxsplit=1)[0] == module_name.split(".", maxsplit=1)[0]:
        return f"there is no module {missing!r}; install its package, or name its folder in PYTHONPATH"
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    # The first frames are ours; an error of syntax names its place itself.
    frames = [frame for frame in frames if frame.filename not in {__file__, importlib.__file__}]
    where = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"{error!r}{where}; mend it, or install what it needs"
