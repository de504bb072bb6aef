"""What a step's code is made of: its modules, those of ours that they import, and the packages of others.

Found by reading the sources, nothing is imported for it. An import inside a function counts, one for type checkers
alone does not. A module that is loaded by a name made at run time is not seen; what is compiled from C counts by its
sources.
"""

import ast
import hashlib
import importlib.util
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from msgspec import Struct

_OURS: Final = ("trainer", "exporter", "edge_agent", "broker")
# Packages whose distribution has another name than what is imported.
_DISTRIBUTIONS: Final = {"sklearn": "scikit-learn", "google": "protobuf", "yaml": "pyyaml", "mlflow": "mlflow-skinny"}
_ABSENT: Final = "absent"
_CHECKING: Final = "TYPE_CHECKING"


class Code(Struct, frozen=True):
    """The code of one step.

    Attributes:
        digest: of the sources.
        packages: name and version of each package of others, Python among them; ``absent`` where it is not installed.
    """

    digest: str
    packages: dict[str, str]


class Sources:
    """The sources of our packages; each file is read once."""

    def __init__(self, roots: Mapping[str, Path] | None = None) -> None:
        """Find the packages.

        Args:
            roots: folder of each of our packages, by its name; None: those that are installed.
        """
        self._roots = dict(roots) if roots is not None else {name: _folder_of(name) for name in _OURS}
        self._files: dict[str, Path | None] = {}
        self._imports: dict[str, frozenset[str]] = {}
        self._digests: dict[str, bytes] = {}

    def code_of(self, modules: Iterable[str]) -> Code:
        """Return the code that modules are made of, by their full names."""
        seen: set[str] = set()
        others: set[str] = set()
        waiting = [part for module in modules for part in _with_parents(module)]
        while waiting:
            name = waiting.pop()
            if name in seen or self._file_of(name) is None:
                continue
            seen.add(name)
            for imported in self._imports_of(name):
                if imported.split(".")[0] in self._roots:
                    waiting += _with_parents(imported)
                else:
                    others.add(imported.split(".")[0])
        digest = hashlib.sha256()
        for name in sorted(seen):
            digest.update(name.encode() + b"\0" + self._digests[name])
        packages = {
            _DISTRIBUTIONS.get(name, name): _version_of(name) for name in others - sys.stdlib_module_names - {"_sha2"}
        }
        return Code(digest.hexdigest()[:16], {"python": platform.python_version(), **dict(sorted(packages.items()))})

    def _file_of(self, name: str) -> Path | None:
        """Return the source of a module; None for what is none: a name within a module."""
        if name not in self._files:
            top, *rest = name.split(".")
            place = self._roots[top].joinpath(*rest)
            found = (place / "__init__.py", place.with_name(f"{place.name}.py"))
            self._files[name] = next((file for file in found if file.is_file()), None)
        return self._files[name]

    def _imports_of(self, name: str) -> frozenset[str]:
        if name not in self._imports:
            file = self._file_of(name)
            if file is None:
                return frozenset()
            text = file.read_bytes()
            digest = hashlib.sha256(text)
            is_package = file.name == "__init__.py"
            if is_package:
                for source in sorted(file.parent.glob("src/*.[ch]")):
                    digest.update(source.name.encode() + b"\0" + source.read_bytes())
            self._digests[name] = digest.digest()
            self._imports[name] = _imports_in(text, name if is_package else name.rpartition(".")[0])
        return self._imports[name]


@lru_cache(maxsize=4096)
def _imports_in(text: bytes, package: str) -> frozenset[str]:
    """Return the full names that a source imports; of ``from a import b`` both ``a`` and ``a.b``, which may be one."""
    names: set[str] = set()
    for node in _at_run_time(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _at_run_time(tree: ast.Module) -> Iterator[ast.AST]:
    """Walk over all statements but those under ``if TYPE_CHECKING``."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        is_for_checkers = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == _CHECKING
        for name in ("orelse",) if is_for_checkers else ("body", "orelse", "finalbody", "handlers", "cases"):
            below = getattr(node, name, ())
            if isinstance(below, list):  # of a conditional expression it is one
                waiting += below


def _with_parents(name: str) -> list[str]:
    """Return a module and the packages that are imported on the way to it."""
    parts = name.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        msg = f"the package {package!r} is not installed"
        raise ModuleNotFoundError(msg, name=package)
    return Path(next(iter(spec.submodule_search_locations)))


def _version_of(package: str) -> str:
    try:
        return version(_DISTRIBUTIONS.get(package, package))
    except PackageNotFoundError:
        return _ABSENT
