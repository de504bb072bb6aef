"""Loads modules at a start from one file, which holds their bytecode, instead of from one file each.

To find a module in folders, and to open, read and compare its file, takes as long as to run it. Each module's source is
still compared by time and size, as Python compares it with bytecode in folders; one that changed, and all that is not
in the file, is loaded by Python's own finders. So are all, once the agent scores: the table need not be held.

The file: the lengths of table and bytecode (8 bytes each, little-endian), the table, the bytecode, as `marshal` writes
it, which only its own Python reads. It lies among Python's other bytecode of the same flags (ADR 29). The table is text
that is searched: as objects it would leave holes in the heap, a quarter of a megabyte, once it is no longer needed.
"""

import marshal
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

# No `Final`, no `Mapping`: to load them from here would be to load them the slow way.
NAME = f"start.{sys.implementation.cache_tag}.opt-{sys.flags.optimize}"
_LENGTH_BYTES = 8
# Of a module: name, path of its source, 1 of a package, time (ns) and size of the source, place and size of its code.
# A module is a line; a field ends where no path does.
_END = b"\0"
_NEXT = b"\n"


class StartArchive:
    """The modules of a file; a finder and a loader of Python's."""

    def __init__(self, file: int, table: bytes, begin: int) -> None:
        """Take over an open file, its table, and where its bytecode begins."""
        self._file = file
        self._table = table
        self._begin = begin

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Find a module whose source is still that of the bytecode; see `importlib.abc.MetaPathFinder`."""
        key = _NEXT + name.encode() + _END
        # Another thread may close this meanwhile.
        table = self._table
        at = table.find(key)
        if at < 0:
            return None
        at += len(key)
        entry = table[at : table.index(_NEXT, at)].split(_END)
        source = os.fsdecode(entry[0])
        is_package, time_ns, size_bytes, place, code_bytes = map(int, entry[1:])
        try:
            now = os.stat(source)  # noqa: PTH116 - pathlib is one of the modules
        except OSError:
            return None
        if (now.st_mtime_ns, now.st_size) != (time_ns, size_bytes):
            return None
        spec = ModuleSpec(name, self, origin=source, is_package=bool(is_package))  # type: ignore[arg-type]
        spec.has_location = True
        # Not looked up again, for the same reason.
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
        self._table = b""


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
        lengths = os.pread(file, 2 * _LENGTH_BYTES, 0)
        table_bytes = int.from_bytes(lengths[:_LENGTH_BYTES], "little")
        begin = len(lengths) + table_bytes
        if not lengths or os.fstat(file).st_size != begin + int.from_bytes(lengths[_LENGTH_BYTES:], "little"):
            return None
        return StartArchive(file, os.pread(file, table_bytes, len(lengths)), begin)
    except OSError:
        return None


def close_archives() -> None:
    """Have no module be loaded from such a file any more: what a start needs is there."""
    for finder in tuple(sys.meta_path):
        if isinstance(finder, StartArchive):
            finder.close()


def archive_bytes(modules: dict[str, ModuleType]) -> bytes:
    """Return the file for the modules among these that Python loaded from sources, under the flags of now."""
    table = [b""]
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
        numbers = (int(is_package), state.st_mtime_ns, state.st_size, place, len(code))
        table.append(_END.join((name.encode(), os.fsencode(spec.origin), *(b"%d" % each for each in numbers))))
        codes.append(code)
        place += len(code)
    told = _NEXT.join((*table, b""))
    return b"".join((*(n.to_bytes(_LENGTH_BYTES, "little") for n in (len(told), place)), told, *codes))
