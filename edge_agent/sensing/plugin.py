"""Finds the user's own code for a sensor or an actuator: ``module:factory``, or the name of an entry point.

A name without a colon is looked up among the entry points of the installed packages, in the group `SOURCES` or `SINKS`.
Code is only taken from where the settings say, never from a bundle.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from edge_agent.errors import SettingsError

SOURCES: Final = "fieldloop.sources"
SINKS: Final = "fieldloop.sinks"

# What a factory is called with: the table `options` of the settings.
Options = Mapping[str, bool | int | float | str]


def load_factory(group: str, name: str, key: str) -> Callable[[Options], Any]:
    """Import a factory.

    Args:
        group: of entry points.
        name: ``module:factory``, or an entry point's name.
        key: the key of the settings that says so, for the error.

    Raises:
        SettingsError: there is none of that name, it cannot be imported, or it cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    try:
        if attribute:
            found: Any = import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        else:
            (entry,) = entry_points(group=group, name=name)
            found = entry.load()
    except ValueError as error:
        known = ", ".join(sorted({entry.name for entry in entry_points(group=group)})) or "none"
        raise SettingsError(
            f"key {key!r}: no entry point {name!r} in the group {group!r}; installed: {known}; or write module:factory"
        ) from error
    except Exception as error:  # what an import runs may raise anything
        raise SettingsError(f"key {key!r}: {name} cannot be imported: {error!r}; is its package installed?") from error
    if not callable(found):
        raise SettingsError(f"key {key!r}: {name} is no function that can be called")
    factory: Callable[[Options], Any] = found
    return factory
