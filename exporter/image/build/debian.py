"""Makes the Debian below a card: packages of one suite and architecture, installed by mmdebstrap, kept as an archive.

Packages are configured under emulation, which takes minutes; so this is made once for each list of packages, and the
agent, which changes more often, comes afterwards.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.image.build.boards import Architecture, Suite
from exporter.image.build.kept import Kept
from exporter.image.build.tools import run_tool
from exporter.image.errors import BuildError
from exporter.image.programs import find_program

OnLine = Callable[[str], None]

# Installed as any other package. kmod: for depmod and for udev.
_BASE_PACKAGES: Final = ("kmod", "python3")
# Unpacked beside the root, not installed: their scripts would make an initrd and fill a boot partition, emulated, for
# ten minutes, and initramfs-tools would come with them.
_KERNELS: Final = {"arm64": "linux-image-arm64", "armhf": "linux-image-armmp"}
_UNPACKED: Final = ("busybox-static", "raspi-firmware")
# Of sixty radios; the boards' own are taken out of it.
RADIO_FIRMWARE: Final = "firmware-brcm80211"
BESIDE: Final = "fieldloop-board"
_COMPONENTS: Final = "main non-free-firmware"
# Nobody reads these on a board; licences stay.
_EXCLUDED: Final = (
    "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*", "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/man/*",
)  # fmt: skip
# $1: the root. Its apt is asked from outside of it, where it runs fast.
_UNPACK: Final = """\
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
debs=$(mktemp -d)
mkdir "$debs/partial"
apt-get --quiet --quiet --yes --download-only -o Dir::Cache::Archives="$debs" install {packages}
mkdir "$1/{beside}"
for deb in "$debs"/linux-image-[0-9]*.deb {debs}; do
    dpkg-deb --extract "$deb" "$1/{beside}"
    dpkg-deb --field "$deb" Package Version Architecture Source Maintainer >>"$1/{beside}/packages"
    echo >>"$1/{beside}/packages"
done
rm -r "$debs"
# Debian 12 has in /lib what later ones have in /usr/lib.
for folder in bin lib; do
    if [ -d "$1/{beside}/$folder" ]; then
        mkdir -p "$1/{beside}/usr/$folder"
        cp -al "$1/{beside}/$folder/." "$1/{beside}/usr/$folder/"
        rm -r "$1/{beside}/$folder"
    fi
    ln -s "usr/$folder" "$1/{beside}/$folder"
done
grep --no-filename -E '^(Origin|Suite|Codename|Date):' "$1"/var/lib/apt/lists/*Release >"$1/{beside}/snapshot"
"""
# What apt says of an index that is not the one that its release file promises.
_TORN: Final = ("File has unexpected size", "Hash Sum mismatch")
_SAID: Final = 900
_LAST: Final = 6
# What a package's script finds of the machine that builds must not be in it.
_AFTER: Final = """\
rm -rf "$1/etc/hostname" "$1/etc/resolv.conf" "$1/etc/machine-id" "$1/var/lib/dbus/machine-id"
rm -f "$1"/etc/ssh/ssh_host_*_key "$1"/etc/ssh/ssh_host_*_key.pub
rm -rf "$1"/var/log/* "$1"/var/cache/ldconfig "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old
sed -i /force-unsafe-io/d "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
find "$1/var/lib/apt/lists" "$1/var/cache/apt" -type f -delete
"""


@dataclass(frozen=True, slots=True)
class Debian:
    """What is to be made.

    Attributes:
        packages: beside Python.
        mirrors: whence it comes: of the suite, and of its security updates; None in place of these: as it was last
            released, without any updates.
        time_s: no file is newer, UTC seconds since 1970; None: that of its making.
    """

    architecture: Architecture
    suite: Suite
    packages: tuple[str, ...]
    mirrors: tuple[str, str | None]
    time_s: int | None

    @property
    def unpacked(self) -> tuple[str, ...]:
        """Packages that are unpacked beside the root."""
        radios = (RADIO_FIRMWARE,) if RADIO_FIRMWARE in self.packages else ()
        return (_KERNELS[self.architecture], *_UNPACKED, *radios)

    @property
    def all_packages(self) -> tuple[str, ...]:
        """Every package that is installed by name, sorted."""
        return tuple(sorted({*_BASE_PACKAGES, *self.packages} - set(self.unpacked)))

    @property
    def sources(self) -> tuple[str, ...]:
        """Lines of apt's ``sources.list``."""
        main, security = self.mirrors
        released = f"deb {main} {self.suite} {_COMPONENTS}"
        if security is None:
            return (released,)
        updates = f"deb {main} {self.suite}-updates {_COMPONENTS}"
        return released, updates, f"deb {security} {self.suite}-security {_COMPONENTS}"

    @property
    def key(self) -> str:
        """Twelve digits for a name: other digits for whatever would give other bytes."""
        told = (self.architecture, self.suite, *self.all_packages, *self.unpacked, *self.sources, str(self.time_s))
        return hashlib.sha256("\n".join((*told, _UNPACK, _AFTER, *_EXCLUDED)).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Made:
    """A Debian that was made.

    Attributes:
        archive: a tar, with what is unpacked beside the root in the folder `BESIDE`.
        key: other digits for other bytes.
        time_s: when, UTC seconds since 1970; no file is newer.
    """

    archive: Path
    key: str
    time_s: int


def make_debian(debian: Debian, cache: Kept, now_s: float, on_line: OnLine, *, anew: bool = False) -> Made:
    """Return a Debian; made once.

    Args:
        debian: which.
        cache: of archives; holds the one that is returned.
        now_s: UTC seconds since 1970: the time of its newest file, where `Debian.time_s` leaves it open.
        on_line: told of every step while it is made.
        anew: make it of today's packages, whatever was kept.

    Raises:
        BuildError: a tool is missing, or a package cannot be had or installed.
    """
    name = f"debian-{debian.architecture}-{debian.suite}-{debian.key}"
    kept = None if anew else cache.newest(f"{name}-*.tar")
    if kept is not None:
        return _made(kept)
    time_s = int(now_s) if debian.time_s is None else debian.time_s
    _verify_emulation(debian)
    with cache.scratch() as folder:
        made = folder / "root.tar"
        named = " ".join(f'"$debs"/{name}_*.deb' for name in debian.unpacked[1:])
        unpack = _UNPACK.format(packages=" ".join(debian.unpacked), beside=BESIDE, debs=named)
        command = [
            find_program("mmdebstrap", BuildError),
            f"--architectures={debian.architecture}",
            "--variant=minbase",
            f"--include={','.join(debian.all_packages)}",
            # The script itself, and away from here: in its namespace, who runs it is another user, to whom a home is
            # closed.
            f"--customize-hook=set -eu\ncd /\n{unpack}{_AFTER}",
            '--aptopt=APT::Install-Recommends "false"',
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt={option}" for option in _EXCLUDED),
            # systemd makes what is in it at every start.
            "--skip=output/dev",
            debian.suite,
            str(made),
            *debian.sources,
        ]
        _run_aloud(command, time_s, on_line)
        return _made(cache.keep(made, f"{name}-{time_s:011d}.tar"))


def _made(archive: Path) -> Made:
    key, _, time_s = archive.stem.rpartition("-")
    return Made(archive, f"{key}-{time_s}", int(time_s))


def mirrors_here(suite: Suite) -> tuple[str, str]:
    """Return where this machine's apt gets Debian from: the suite's packages, and their security updates.

    Raises:
        BuildError: it knows no Debian.
    """
    told = run_tool(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"], time_s=0
    )
    found = [line.split()[2] for line in told.decode().splitlines() if line.startswith("Debian main ")]
    security = [mirror for mirror in found if "security" in mirror]
    main = [mirror for mirror in found if "security" not in mirror]
    if not main:
        raise BuildError(f"this machine's apt knows no Debian to take {suite} from: name a mirror by --mirror URL")
    # Of a mirror's two halves, the second lies beside the first.
    return main[0], security[0] if security else re.sub(r"debian/?$", "debian-security", main[0])


def _verify_emulation(debian: Debian) -> None:
    """Check beforehand what mmdebstrap would say in words of its own."""
    done = subprocess.run(
        [find_program("arch-test", BuildError), debian.architecture],
        capture_output=True,
        check=False,
        env={**os.environ},
    )
    if done.returncode:
        raise BuildError(
            f"this machine does not run programs for {debian.architecture}: "
            "sudo apt-get install qemu-user-static binfmt-support"
        )


def explain_failure(exit_code: int, said: Sequence[str]) -> BuildError:
    """Return what to tell a user of an mmdebstrap that failed, by the lines that it said."""
    # apt says it long before mmdebstrap's last words.
    torn = [line for line in said if any(word in line for word in _TORN)]
    if torn:
        return BuildError(
            f"a mirror is just being renewed, or was left half renewed: {torn[-1][:_SAID]}; try again later, or name "
            "another by --mirror or --security-mirror; --security-mirror none takes Debian as it was last released"
        )
    return BuildError(f"mmdebstrap failed (exit code {exit_code}): {' / '.join(said[-_LAST:])[-_SAID:]}")


def _run_aloud(command: list[str], time_s: int, on_line: OnLine) -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(time_s)}
    said: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        for line in process.stdout or ():
            if line.startswith("I: "):
                on_line(line[3:].strip())
            said.append(line.strip())
    if process.returncode:
        raise explain_failure(process.returncode, said)
