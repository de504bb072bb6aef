"""Lists what the package installs: the agent, its compiled code, the libraries it carries, its unit, its documents."""

import gzip
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge_agent.engine.compile import CODEC, ENGINE, compile_library
from scripts.deb.architectures import PYTHONS, Architecture
from scripts.deb.archive import Entry
from scripts.deb.compiled import compile_msgspec, python_here
from scripts.deb.wheels import COMPILED, fetch_source, fetch_wheels, files_of_source, files_of_wheel, is_needed

NAME: Final = "fieldloop-agent"
_OURS: Final = "usr/lib/fieldloop"
_DOCUMENTS: Final = f"usr/share/doc/{NAME}"
_FILES: Final = Path(__file__).parent / "files"
_SERVICE: Final = Path("edge_agent") / "service"
_PROGRAM: Final = 0o755
# Sources of C and how to compile them: of no use where it is compiled.
_LEFT_OUT: Final = (
    "edge_agent/engine/src/",
    "edge_agent/engine/lib/",
    "edge_agent/engine/compile.py",
    "broker/codec/src/",
    "broker/codec/lib/",
    "broker/codec/tables.py",
)


def project_version() -> str:
    """Return the version that pyproject.toml names."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    version: str = project["project"]["version"]
    return version


def contents_for(architecture: Architecture, cache: Path) -> tuple[Entry, ...]:
    """Return every file of the package for an architecture.

    Args:
        architecture: for which.
        cache: keeps what is fetched and compiled.

    Raises:
        FetchError: a library cannot be had.
        CompileError: one cannot be compiled.
        edge_agent.engine.compile.CompilerError: the engine cannot be compiled.
    """
    return tuple(sorted((*_agent(), *_engine(architecture, cache), *_libraries(architecture, cache), *_system())))


def _agent() -> Iterator[Entry]:
    for package in ("broker", "edge_agent"):
        for path in sorted(Path(package).rglob("*.py")):
            if not path.as_posix().startswith(_LEFT_OUT):
                yield Entry(f"{_OURS}/{path.as_posix()}", path.read_bytes())
    version = project_version()
    # importlib.metadata finds the version in it.
    metadata = f"Metadata-Version: 2.1\nName: fieldloop\nVersion: {version}\nLicense: Apache-2.0\n"
    yield Entry(f"{_OURS}/fieldloop-{version}.dist-info/METADATA", metadata.encode())


def _engine(architecture: Architecture, cache: Path) -> Iterator[Entry]:
    for name in architecture.engines:
        library = compile_library(ENGINE, name, cache.resolve() / "engine")
        yield Entry(f"{_OURS}/edge_agent/engine/lib/{name}/{library.name}", library.read_bytes())
        library = compile_library(CODEC, name, cache.resolve() / "codec")
        yield Entry(f"{_OURS}/broker/codec/lib/{name}/{library.name}", library.read_bytes())


def _libraries(architecture: Architecture, cache: Path) -> Iterator[Entry]:
    """Yield the libraries: what is plain Python once, what is compiled for each Python in a folder of its own."""
    fetched = cache / "fetched"
    plain: dict[str, bytes] = {}
    for python in PYTHONS if architecture.platforms else (python_here(),):
        for wheel in fetch_wheels(fetched, architecture.platforms, python):
            files = files_of_wheel(wheel)
            if wheel.name.startswith(f"{COMPILED}-"):
                yield from (Entry(f"{_OURS}/python{python}/{path}", data) for path, data in files.items())
            else:
                plain |= files
    yield from (Entry(f"{_OURS}/{path}", data) for path, data in plain.items())
    if not architecture.platforms:
        yield from _compiled_here(cache)


def _compiled_here(cache: Path) -> Iterator[Entry]:
    archive = fetch_source(cache / "fetched")
    sources = files_of_source(archive, f"src/{COMPILED}")
    folder = f"{_OURS}/python{python_here()}"
    name, data = compile_msgspec(sources, cache)
    yield Entry(f"{folder}/{COMPILED}/{name}", data)
    for path, text in sources.items():
        if path.endswith(".py") and is_needed(path):
            yield Entry(f"{folder}/{COMPILED}/{path}", text)
    described = f"{folder}/{archive.name.removesuffix('.tar.gz')}.dist-info"
    top = files_of_source(archive, "")
    yield Entry(f"{described}/METADATA", top["PKG-INFO"])
    yield Entry(f"{described}/licenses/LICENSE", top["LICENSE"])


def _system() -> Iterator[Entry]:
    yield Entry(f"usr/bin/{NAME}", (_FILES / NAME).read_bytes(), _PROGRAM)
    yield Entry(f"{_OURS}/make-bytecode", (_FILES / "make-bytecode").read_bytes(), _PROGRAM)
    yield Entry(f"usr/lib/systemd/system/{NAME}.service", (_SERVICE / f"{NAME}.service").read_bytes())
    yield Entry("etc/fieldloop", None, 0o750)
    for path in sorted((_SERVICE / "devices").glob("*.conf")):
        yield Entry(f"{_DOCUMENTS}/examples/{path.name}", path.read_bytes())
    yield Entry(f"{_DOCUMENTS}/examples/agent.toml", (_FILES / "agent.toml").read_bytes())
    yield Entry(f"{_DOCUMENTS}/service.md", (Path("docs") / "guides" / "service.md").read_bytes())
    yield Entry(f"{_DOCUMENTS}/copyright", (_FILES / "copyright").read_bytes())
    changes = Path("CHANGELOG.md").read_bytes()
    yield Entry(f"{_DOCUMENTS}/changelog.gz", gzip.compress(changes, 9, mtime=0))
