"""Compiles msgspec for 32-bit ARM, for which nobody offers a wheel: one C file, by zig, for the Python that runs this.

The headers are those of this Python; what they must know of the other machine is in files/pyconfig.h.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from edge_agent.durable import replace_file

_CONFIG: Final = Path(__file__).parent / "files" / "pyconfig.h"
# ARMv6 with VFPv2, which every board of Debian's armhf and of Raspberry Pi OS has.
_COMMAND: Final = (
    "-m", "ziglang", "cc", "-target", "arm-linux-gnueabihf.2.28", "-mcpu=arm1176jzf_s",
    "-std=gnu11", "-O2", "-g0", "-DNDEBUG", "-fPIC", "-shared", "-s", "-fno-sanitize=all", "-fwrapv",
)  # fmt: skip
_TIMEOUT_S: Final = 600


class CompileError(Exception):
    """It cannot be compiled here: the message says what is missing, or has the compiler's words."""


def python_here() -> str:
    """Return the version of the Python for which can be compiled here, as ``3.11``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def compile_msgspec(sources: Mapping[str, bytes], cache: Path) -> tuple[str, bytes]:
    """Return the name and the bytes of its extension module.

    Args:
        sources: the files of its folder ``src/msgspec``, by name.
        cache: keeps what was compiled, by all that it was compiled from.

    Raises:
        CompileError: there are no headers of this Python, or no compiler, or it failed.
    """
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        raise CompileError(f"{headers}/Python.h is missing; install the headers of this Python (Debian: python3-dev)")
    if importlib.util.find_spec("ziglang") is None:
        raise CompileError("no compiler for 32-bit ARM here: pip install ziglang")
    name = f"_core.cpython-{python_here().replace('.', '')}-arm-linux-gnueabihf.so"
    kept = cache / f"msgspec-{_fingerprint(sources)}" / name
    if not kept.exists():
        compiled = _compile(sources, headers, name)
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_file(kept, compiled, 0o755)
    return name, kept.read_bytes()


def _compile(sources: Mapping[str, bytes], headers: Path, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for path, data in sources.items():
            if path.endswith((".c", ".h")):
                (work / path).write_bytes(data)
        # Copied, because Python.h takes the pyconfig.h beside it, whatever -I says.
        shutil.copytree(headers, work / "include")
        (work / "include" / "pyconfig.h").write_bytes(_CONFIG.read_bytes())
        command = [sys.executable, *_COMMAND, "-Iinclude", "_core.c", "-o", name, "-lm"]
        environment = dict(os.environ)
        environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(Path(tempfile.gettempdir()) / "fieldloop-zig"))
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment, cwd=work
            )
        except subprocess.CalledProcessError as error:
            raise CompileError(f"msgspec was not compiled:\n{error.stderr[-2000:]}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompileError(f"msgspec was not compiled: {error}") from error
        return (work / name).read_bytes()


def _fingerprint(sources: Mapping[str, bytes]) -> str:
    parts = (sys.version, version("ziglang"), *_COMMAND, _CONFIG.read_bytes().decode())
    digest = hashlib.sha256("\0".join(parts).encode())
    for path in sorted(sources):
        digest.update(path.encode() + b"\0" + sources[path])
    return digest.hexdigest()[:16]
