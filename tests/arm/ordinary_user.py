"""Runs a command as an ordinary user, whose home is closed to others; nobody is added to this machine for it.

In a namespace of mounts, copies of the lists of users name one, with identifiers of his own to give away
(/etc/subuid), and the interpreter that runs the tests is his to read, wherever it lies.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NAME: Final = "fieldloop-builder"
_USER: Final = 54_321
_LINES: Final[Mapping[str, str]] = {
    "passwd": f"{NAME}:x:{_USER}:{_USER}::{{home}}:/bin/sh\n",
    "group": f"{NAME}:x:{_USER}:\n",
    "subuid": f"{NAME}:300000:65536\n",
    "subgid": f"{NAME}:300000:65536\n",
}
# $1: a folder for this; $2: the interpreter's own; then the command.
_ENTER: Final = """\
scratch=$1; python=$2; shift 2
mount --make-rprivate /
for list in passwd group subuid subgid; do
    [ -e "/etc/$list" ] || continue
    mount --bind "$scratch/$list" "/etc/$list"
done
case $python in
/root/*)
    mkdir "$scratch/python"
    mount --bind "$python" "$scratch/python"
    mount -t tmpfs -o mode=755 none /root
    mkdir -p "$python"
    mount --bind "$scratch/python" "$python"
    ;;
esac
"""


@contextmanager
def home() -> Iterator[Path]:
    """Give a home that is closed to others, where others may at least pass; it goes away with all that is in it."""
    # pytest's own folders are root's alone.
    place = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="fieldloop-home-"))
    try:
        own(place)
        yield place
    finally:
        shutil.rmtree(place)


def own(place: Path) -> None:
    """Give a folder and all in it to the user, and close it to others."""
    for path in (place, *place.rglob("*")):
        os.chown(path, _USER, _USER)
    place.chmod(0o700)


def as_ordinary_user(command: Sequence[str], home: Path, scratch: Path) -> list[str]:
    """Return what runs a command as that user, in his home.

    Args:
        command: what to run.
        home: from `home`.
        scratch: a folder for this.
    """
    for name, line in _LINES.items():
        there = Path("/etc") / name
        known = there.read_text(encoding="utf-8") if there.exists() else ""
        (scratch / name).write_text(known + line.format(home=home), encoding="utf-8")
    become = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "env", f"HOME={home}"]
    script = f'{_ENTER}cd "{home}"; exec "$@"'
    return ["unshare", "--mount", "sh", "-euc", script, "sh", str(scratch), sys.base_prefix, *become, *command]
