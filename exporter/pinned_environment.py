"""Makes virtual environments in the user's cache, each once, from requirements that are pinned by their hashes.

For programs that cannot share this one's environment. Which they are, and what a Python must be to run them, is none of
its business.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.durable import replace_file

_STAMP: Final = "complete"
_QUIET_PIP: Final = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
_TAIL_LINES: Final = 5
_KEY_DIGITS: Final = 16


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the user's cache of this program (XDG base directory specification).

    Args:
        environment: variables of the process.
    """
    named = environment.get("XDG_CACHE_HOME", "")
    root = Path(named) if os.path.isabs(named) else Path.home() / ".cache"  # noqa: PTH117 - an empty text is no path
    return root / "fieldloop"


def environment_key(requirements: Path, interpreter: str) -> str:
    """Return 64 hexadecimal digits for an environment's name: other requirements or another Python, other digits."""
    return hashlib.sha256(requirements.read_bytes() + interpreter.encode()).hexdigest()


def pinned_file(path: Path, failure: type[Exception]) -> Path:
    """Return a file of requirements that lies beside a module: in a checkout as a link, in a package as a copy.

    Raises:
        Exception: ``failure``: it is not there.
    """
    if not path.is_file():
        raise failure(f"{path} is missing from this installation; install fieldloop anew")
    return path


@dataclass(frozen=True, slots=True)
class PinnedEnvironment:
    """An environment, made or not.

    Attributes:
        folder: where it lies.
        requirements: file of all that is installed into it, with hashes.
        content: what that is, for messages.
        pip_mend: what to do where there is no pip to install with, for a message.
        failure: what is raised, with a message, where it cannot be made.
        timeout_s: for each step of making it; None waits for ever.
        from_source: names of packages that come as source alone, which their own code builds.
        builder: file of what builds those, with hashes; it is installed first. None: nothing is built.
    """

    folder: Path
    requirements: Path
    content: str
    pip_mend: str
    failure: type[Exception]
    timeout_s: float | None = None
    from_source: tuple[str, ...] = ()
    builder: Path | None = None

    @classmethod
    def of_this_python(
        cls,
        name: str,
        requirements: Path,
        environment: Mapping[str, str],
        *,
        content: str,
        failure: type[Exception],
        from_source: tuple[str, ...] = (),
        builder: Path | None = None,
    ) -> "PinnedEnvironment":
        """Return the environment, made or not, that this Python makes; another Python has another one.

        Args:
            name: begins the name of its folder.
            requirements: file of all that is installed into it.
            environment: variables of the process, which name the cache.
            content: what that is, for messages.
            failure: what is raised, with a message, where it cannot be made.
            from_source: names of packages that come as source alone.
            builder: file of what builds those; None: nothing is built.

        Raises:
            Exception: ``failure``: its requirements are not there.
        """
        key = environment_key(pinned_file(requirements, failure), sys.version)[:_KEY_DIGITS]
        return cls(
            cache_folder(environment) / f"{name}-{key}",
            requirements,
            content=content,
            pip_mend="this mends it on Debian and its children: sudo apt-get install python3-pip python3-venv",
            failure=failure,
            from_source=from_source,
            builder=None if builder is None else pinned_file(builder, failure),
        )

    @property
    def python(self) -> Path:
        """Its own Python."""
        return self.folder / "bin" / "python"

    @property
    def is_complete(self) -> bool:
        """Whether it was made to its end."""
        return (self.folder / _STAMP).is_file()

    def make(self, python: Path) -> None:
        """Make it unless it is there; two who want it at once wait for one another.

        Args:
            python: that it is made of.

        Raises:
            Exception: the environment's `failure`; what failed, and the last words of it.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_name(f"{self.folder.name}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.is_complete:
                return
            if self.folder.exists():
                shutil.rmtree(self.folder)  # half made by one that was ended
            bare = (str(python), "-m", "venv", "--without-pip", str(self.folder))
            self._run(bare, f"{python} cannot make an environment")
            pip = self._pip(python)
            pinned = (*pip, "install", "--require-hashes", "--only-binary", ":all:")
            problem = f"pip could not install {self.content}; the usual reason is no network: try again"
            if self.builder is not None:
                self._run((*pinned, "--requirement", str(self.builder)), problem)
            # Isolated, pip would fetch what builds them from wherever, in whatever version.
            built = (*(sign for name in self.from_source for sign in ("--no-binary", name)), "--no-build-isolation")
            self._run((*pinned, *(built if self.from_source else ()), "--requirement", str(self.requirements)), problem)
            replace_file(self.folder / _STAMP, b"")

    def _pip(self, python: Path) -> Sequence[str]:
        """Return the pip that installs into the empty environment: ours, as Debian's Python cannot put one into it."""
        own = (sys.executable, "-m", "pip")
        if subprocess.run((*own, "--version"), capture_output=True, check=False).returncode == 0:
            return (*own, "--python", str(self.python))
        inside = (str(self.python), "-m")
        self._run((*inside, "ensurepip", "--default-pip"), f"{python} has no pip to install with; {self.pip_mend}")
        return (*inside, "pip")

    def _run(self, command: Sequence[str], problem: str) -> None:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=self.timeout_s,
                check=False,
                env=os.environ | _QUIET_PIP,
            )
        except subprocess.TimeoutExpired as error:
            raise self.failure(f"{problem} (ended after {self.timeout_s:g} s)") from error
        if done.returncode != 0:
            words = done.stdout.decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
            raise self.failure("\n".join((problem, *words)))
