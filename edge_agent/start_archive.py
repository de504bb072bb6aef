"""Loads modules at a start from one file, which holds their bytecode, instead of from one file each.

To find a module in folders, and to open, read and compare its file, takes as long as to run it. Each module's source is
still compared by time and size, as Python compares it with bytecode in folders; one that changed, and all that is not
in the file, is loaded by Python's own finders. So are all, once the agent scores: the table need not be held.

The file: the length of the table (8 bytes, little-endian), the table, the bytecode; as `marshal` writes them, which
only its own Python reads. It lies among Python's other bytecode of the same flags (ADR 29).
"""

import marshal
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

# No `Final`, no `Mapping`: to load them from here would be to load them the slow way.
NAME = f"start.{sys.implementation.cache_tag}.opt-{sys.flags.optimize}"
_LENGTH_BYTES = 8
# Of a module: path of its source, whether it is a package, time (ns) and size of the source, place and size of code.
_Entry = tuple[str, bool, int, int, int, int]


class StartArchive:
    """The modules of a file; a finder and a loader of Python's."""

    def __init__(self, file: int, table: dict[str, _Entry], begin: int) -> None:
        """Take over an open file, its table, and where its bytecode begins."""
        self._file = file
        self._table = table
        self._begin = begin

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Find a module whose source is still that of the bytecode; see `importlib.abc.MetaPathFinder`."""
        entry = self._table.get(name)
        if entry is None:
            return None
        source, is_package, time_ns, size_bytes, place, code_bytes = entry
        try:
            now = os.stat(source)  # noqa: PTH116 - pathlib is one of the modules
        except OSError:
            return None
        if (now.st_mtime_ns, now.st_size) != (time_ns, size_bytes):
            return None
        spec = ModuleSpec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        # Not looked up again: another thread may have this closed meanwhile.
        spec.loader_state = (place, code_bytes)
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(source.rpartition("/")[0])
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """Leave that to Python; see `importlib.abc.Loader`."""

    def exec_module(self, module: ModuleType) -> None:
        """Run a module; see `importlib.abc.Loader`."""
        place, size_bytes = module.__spec__.loader_state  # type: ignore[union-attr]
        # Root wrote it, as Python's bytecode.
        code = marshal.loads(os.pread(self._file, size_bytes, self._begin + place))  # noqa: S302
        exec(code, module.__dict__)  # noqa: S102

    def close(self) -> None:
        """Find nothing from now on; the file stays open for a module that was found and is not run yet."""
        sys.meta_path.remove(self)
        self._table = {}


def open_archive(folder: str | None) -> StartArchive | None:
    """Have the modules of a folder's file be loaded from it; None: there is none that can be read.

    Args:
        folder: of Python's bytecode, `sys.pycache_prefix`; None: beside the sources, where no file is.
    """
    if folder is None:
        return None
    try:
        file = os.open(f"{folder}/{NAME}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    archive = _whole_archive(file)
    if archive is None:
        os.close(file)
        return None
    sys.meta_path.insert(0, archive)
    return archive


def _whole_archive(file: int) -> StartArchive | None:
    try:
        length = int.from_bytes(os.pread(file, _LENGTH_BYTES, 0), "little")
        table = marshal.loads(os.pread(file, length, _LENGTH_BYTES))  # noqa: S302 - as above
        begin = _LENGTH_BYTES + length
        is_whole = os.fstat(file).st_size == begin + sum(entry[-1] for entry in table.values())
    except (OSError, EOFError, AttributeError, TypeError, ValueError, OverflowError, MemoryError):
        return None
    return StartArchive(file, table, begin) if is_whole else None


def close_archives() -> None:
    """Have no module be loaded from such a file any more: what a start needs is there."""
    for finder in tuple(sys.meta_path):
        if isinstance(finder, StartArchive):
            finder.close()


def archive_bytes(modules: dict[str, ModuleType]) -> bytes:
    """Return the file for the modules among these that Python loaded from sources, under the flags of now."""
    table: dict[str, _Entry] = {}
    codes: list[bytes] = []
    place = 0
    for name, module in tuple(modules.items()):
        spec = getattr(module, "__spec__", None)
        # Of two names for one module the other one is a trick of its own.
        if spec is None or spec.name != name or not spec.has_location or not spec.origin.endswith(".py"):
            continue
        code = marshal.dumps(spec.loader.get_code(name))
        state = os.stat(spec.origin)  # noqa: PTH116 - as above
        is_package = spec.submodule_search_locations is not None
        table[name] = (spec.origin, is_package, state.st_mtime_ns, state.st_size, place, len(code))
        codes.append(code)
        place += len(code)
    told = marshal.dumps(table)
    return b"".join((len(told).to_bytes(_LENGTH_BYTES, "little"), told, *codes))
