"""A Debian with a systemd of its own, to install the package in: made by mmdebstrap, booted by nspawn."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from exporter.proof.debian_root import debian_mirror
from exporter.proof.places import NotRunError
from tests.arm.processors import among_processors
from tests.waiting import wait_until

SUITE: Final = "bookworm"
HERE: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}.get(platform.machine(), platform.machine())
# An emulated one is not booted.
_PACKAGES: Final = ("openssl", "passwd", "python3")
_BOOTED_PACKAGES: Final = (*_PACKAGES, "systemd-sysv")
BARE: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
MAKE_BYTECODE: Final = "/usr/lib/fieldloop/make-bytecode"
_MAKE_S: Final = 1500
_RUN_S: Final = 60
_EMULATED_RUN_S: Final = 600
NSPAWN: Final = ("--register=no", "--keep-unit", "--settings=no", "--resolv-conf=off", "--console=pipe", "--boot")
_CGROUPS: Final = Path("/sys/fs/cgroup")


def base_archive(cache: Path, packages: Sequence[str] | None = None, architecture: str = HERE) -> Path:
    """Return the archive of a small Debian, made once for each list of packages; skips where it cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("installing a package takes root")
    for tool, package in (("mmdebstrap", "mmdebstrap"), ("chroot", "coreutils")):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: sudo apt-get install {package}")
    if packages is None:
        packages = _BOOTED_PACKAGES if architecture == HERE else _PACKAGES
    key = hashlib.sha256(" ".join((SUITE, *packages)).encode()).hexdigest()[:12]
    archive = cache / f"installed-{'' if architecture == HERE else f'{architecture}-'}{SUITE}-{key}.tar"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as folder:
            made = Path(folder) / "root.tar"
            command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(packages)}"]
            command += ["--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/locale/*"]
            command += ['--aptopt=APT::Install-Recommends "false"']
            if architecture == HERE:
                command += [SUITE, str(made)]
            else:
                # Without security updates, whose index for armhf is inconsistent at times.
                command += ["--mode=root", f"--architectures={architecture}", SUITE, str(made), _source()]
                command = among_processors(command)
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_MAKE_S)
            if done.returncode:
                pytest.skip(f"mmdebstrap could not make a Debian: {done.stderr.strip()[-300:]}")
            made.rename(archive)
    return archive


def _source() -> str:
    try:
        return f"deb {debian_mirror()} {SUITE} main"
    except NotRunError as error:
        pytest.skip(str(error))


class Root:
    """A Debian in a folder, of this processor or of another one; nothing of it runs."""

    def __init__(self, folder: Path, archive: Path, architecture: str = HERE) -> None:
        """Unpack it."""
        self.folder = folder
        self._architecture = architecture
        subprocess.run(["tar", "--extract", "--file", str(archive), "--directory", str(folder)], check=True)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        deadline_s = _RUN_S if self._architecture == HERE else _EMULATED_RUN_S
        return _run(self.command(*command), deadline_s, check=check)

    def command(self, *command: str) -> list[str]:
        """Return what runs a command inside; it becomes that command, and gets its signals."""
        return [*self._enter(), *command]

    def _enter(self) -> list[str]:
        if self._architecture == HERE:
            return ["chroot", str(self.folder)]
        return among_processors([], self.folder)

    def files(self) -> set[str]:
        """Return every path inside, but what the kernel shows, and what runs or dpkg leaves of each command."""
        passing = ("proc", "sys", "run", "dev", "tmp", "var/log", "var/lib/systemd", "var/cache", "var/lib/dpkg")
        found: set[str] = set()
        for folder, folders, names in os.walk(self.folder):
            place = Path(folder).relative_to(self.folder)
            folders[:] = [name for name in folders if (place / name).as_posix() not in passing]
            found |= {(place / name).as_posix() for name in (*folders, *names)}
        return {path for path in found if not path.endswith("-")}

    def installs(self, package: Path) -> None:
        """Install a package with dpkg."""
        shutil.copy(package, self.folder / "opt")
        try:
            self.run("dpkg", "--install", f"/opt/{package.name}")
        finally:
            (self.folder / "opt" / package.name).unlink()


class Machine(Root):
    """The same, booted; its network is the host's."""

    def __init__(self, root: Root, options: Sequence[str] = (), arguments: Sequence[str] = ()) -> None:
        """Boot it; skips where that cannot be.

        Args:
            root: what is booted.
            options: further ones of systemd-nspawn.
            arguments: what a kernel would be told.
        """
        self.folder = root.folder
        self._architecture = HERE
        if shutil.which("systemd-nspawn") is None:
            pytest.skip("no systemd-nspawn here: sudo apt-get install systemd-container")
        self._groups_before = set(_CGROUPS.glob("*/*"))
        name = f"fieldloop-{os.getpid()}-{os.urandom(3).hex()}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._nspawn = subprocess.Popen(
            [
                "systemd-nspawn",
                "--quiet",
                "--directory",
                str(self.folder),
                "--machine",
                name,
                *options,
                *NSPAWN,
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        try:
            wait_until(self._is_up, 60, "the container has booted")
        except AssertionError:
            self._log.seek(0)
            said = self._log.read().decode(errors="replace")[-300:]
            self.stop()
            pytest.skip(f"systemd does not boot in a container here: {said}")

    def stop(self) -> None:
        """Switch it off."""
        self._nspawn.terminate()
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._log.close()
        # nspawn leaves its own, empty.
        for group in set(_CGROUPS.glob("*/*")) - self._groups_before:
            if group.name in {"payload", "supervisor"}:
                for folder, _, _ in os.walk(group, topdown=False):
                    Path(folder).rmdir()

    def show(self, name: str) -> str:
        """Return a property of the service."""
        return self.run("systemctl", "show", "--value", "--property", name, "fieldloop-agent").stdout.strip()

    def journal(self) -> str:
        """Return what the service logged, with the manager's words about it, as JSON lines."""
        return self.run("journalctl", "--unit", "fieldloop-agent", "--output", "json", "--no-pager").stdout

    def _enter(self) -> list[str]:
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text(encoding="ascii")
        return ["nsenter", "--target", children.split()[0], "--all"]

    def _is_up(self) -> bool:
        try:
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        except (OSError, IndexError):
            return False
        return state in {"running", "degraded"}


def bytecode_of(root: Root, module: str) -> list[Path]:
    """Return the service's own bytecode of a module, which is named by its path without ``.py``."""
    return list(root.folder.glob(f"usr/lib/fieldloop/bytecode/{module}.*.opt-2.pyc"))


def _run(command: Sequence[str], deadline_s: float, *, check: bool) -> subprocess.CompletedProcess[str]:
    # In a session of its own: what goes wrong inside must not reach the group of processes that the tests are in.
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=deadline_s,
        env=BARE,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done
