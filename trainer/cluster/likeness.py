"""Tells whether two machines would compute the same: our own sources, and the packages that the work rests on."""

import hashlib
import importlib.util
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Final

from msgspec import Struct

_OURS: Final = ("broker", "edge_agent", "exporter", "trainer")
_ABSENT: Final = "absent"
_SUFFIXES: Final = (".py", ".c", ".h")


class Likeness(Struct, frozen=True):
    """What one machine has.

    Attributes:
        code: digest of our sources.
        packages: version by name, Python among them; of a module that no package brought, a digest of its file.
    """

    code: str
    packages: dict[str, str]


def likeness_of(packages: Iterable[str], modules: Iterable[str] = ()) -> Likeness:
    """Return what this machine has.

    Args:
        packages: names of distributions that count.
        modules: dotted names of what a project imports from modules, whose distributions or files count.
    """
    found = {"python": platform.python_version(), **{name: _version_of(name) for name in packages}}
    for dotted in modules:
        top = dotted.partition(".")[0]
        if top not in _OURS:
            name, told = _told_of(top, dotted.rpartition(".")[0])
            found[name] = told
    return Likeness(_our_code(), found)


def differences(here: Likeness, there: Likeness) -> tuple[str, ...]:
    """Return in words what another machine has otherwise than this one."""
    code = () if here.code == there.code else (f"Fieldloop's code {there.code}, here {here.code}",)
    return (*code, *version_differences(here.packages, there.packages))


def version_differences(here: Mapping[str, str], there: Mapping[str, str]) -> tuple[str, ...]:
    """Return in words which versions another machine has otherwise than this one."""
    return tuple(
        f"{name} {there.get(name, _ABSENT)}, here {version_here}"
        for name, version_here in here.items()
        if there.get(name, _ABSENT) != version_here
    )


@cache
def _our_code() -> str:
    digest = hashlib.sha256()
    for package in _OURS:
        spec = importlib.util.find_spec(package)
        for root in [] if spec is None else spec.submodule_search_locations or []:
            for file in sorted(path for path in Path(root).rglob("*") if path.suffix in _SUFFIXES):
                name = f"{package}/{file.relative_to(root).as_posix()}"
                digest.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _told_of(top: str, module: str) -> tuple[str, str]:
    brought = packages_distributions().get(top)
    if brought:
        return brought[0], _version_of(brought[0])
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return f"module {module}", _ABSENT
    return f"module {module}", hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:16]


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _ABSENT
