"""Runs a command among programs of other processors: in namespaces of its own, where the kernel starts qemu for them.

``python processors.py [--root FOLDER] [--directory INSIDE] COMMAND …``. The kernel (from Linux 6.7 on) has a
binfmt_misc for each user namespace: nothing of this machine changes, and what the command starts is emulated as well,
however deep. With ``--root`` the command is run inside of a folder, with /proc and /dev, and without /sys: ONNX Runtime
dies of finding the host's processor in both.
"""

import argparse
import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_FORMATS: Final = Path("/usr/lib/binfmt.d")
_NAMES: Final = ("qemu-aarch64", "qemu-arm")
_REGISTER: Final = Path("/proc/sys/fs/binfmt_misc")
# linux/sched.h and linux/mount.h
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 1 << 18
_ALL_IDS: Final = 0xFFFFFFFF
_libc: Final = ctypes.CDLL(None, use_errno=True)


def among_processors(command: Sequence[str], root: Path | None = None, directory: str = "/") -> list[str]:
    """Return the command that runs a command among programs of other processors.

    Args:
        command: what to run.
        root: the folder inside of which it runs; None: where it is.
        directory: inside of the root, where it starts.
    """
    inside = [] if root is None else ["--root", str(root), "--directory", directory]
    return [sys.executable, "-I", str(Path(__file__).resolve()), *inside, *command]


def main() -> None:
    """Become the command; end with a word of what the kernel refused."""
    parser = argparse.ArgumentParser(prog="tests.arm.processors")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--directory", default="/")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    try:
        _enter_namespaces()
        _know_processors()
        if options.root is not None:
            _change_root(options.root)
            os.chdir(options.directory)
    except OSError as error:
        sys.exit(f"cannot emulate processors here: {error}")
    os.execvp(options.command[0], options.command)  # noqa: S606 - that is what it is for


def _enter_namespaces() -> None:
    """Leave the user and mount namespaces for new ones, in which every user is who he was, or this one is root."""
    user, group = os.geteuid(), os.getegid()
    if user != 0:
        _called("unshare", _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    else:
        # Only from outside may more than one user be mapped: by a child that stays there.
        left, mapped, me = os.pipe(), os.pipe(), os.getpid()
        if os.fork() == 0:
            os.read(left[0], 1)
            for kind in ("uid", "gid"):
                Path(f"/proc/{me}/{kind}_map").write_text(f"0 0 {_ALL_IDS}", encoding="ascii")
            os.write(mapped[1], b".")
            os._exit(0)
        os.close(mapped[1])
        _called("unshare", _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        os.write(left[1], b".")
        if not os.read(mapped[0], 1):
            raise PermissionError("the users of this machine cannot be mapped into a namespace")
        os.wait()
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)


def _know_processors() -> None:
    """Have the kernel start qemu for programs of ARM; an older kernel may do it already, for the whole machine."""
    try:
        _mount("binfmt_misc", str(_REGISTER), "binfmt_misc", 0)
    except PermissionError:
        return
    for name in _NAMES:
        (_REGISTER / "register").write_bytes((_FORMATS / f"{name}.conf").read_bytes())


def _change_root(root: Path) -> None:
    for name in ("proc", "dev"):
        (root / name).mkdir(exist_ok=True)
        _mount(f"/{name}", str(root / name), None, _MS_BIND | _MS_REC)
    os.chroot(root)


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    encoded = [text.encode() if text is not None else None for text in (source, target, kind)]
    _called(f"mounting {target}", _libc.mount(*encoded, ctypes.c_ulong(flags), None))


def _called(what: str, result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
