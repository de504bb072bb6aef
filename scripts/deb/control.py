"""Writes what dpkg reads itself: the fields of the package, its maintainer scripts, its checksums."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts.deb.architectures import PYTHONS, Architecture
from scripts.deb.archive import Entry, installed_kb, md5sums
from scripts.deb.compiled import python_here
from scripts.deb.contents import NAME

_FILES: Final = Path(__file__).parent / "files"
_SCRIPTS: Final = ("postinst", "postrm", "prerm")
_PROGRAM: Final = 0o755


def control_for(architecture: Architecture, version: str, contents: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the control files of a package with these contents."""
    fields = {
        "Package": NAME,
        "Version": version,
        "Architecture": architecture.debian,
        "Maintainer": "The Fieldloop authors <maintainers@fieldloop.invalid>",
        "Installed-Size": str(installed_kb(contents)),
        "Depends": ", ".join(_dependencies(architecture)),
        "Recommends": "ca-certificates, systemd",
        # Fetches bundles compressed and as differences; without it, whole.
        "Suggests": "python3-zstandard, python3-numpy",
        "Section": "science",
        "Priority": "optional",
        "Description": "scores rows with a model on this device, and updates it\n"
        " The agent of Fieldloop reads rows from a sensor, scores them with the model\n"
        " that it was ordered to run, reports to an MQTT broker, and takes new models\n"
        " from a signed repository: proved on this device, tried, and rolled back where\n"
        " they fail.\n"
        " .\n"
        " The native engine is part of the package. Other runtimes are the\n"
        " administrator's choice, see /usr/share/doc/fieldloop-agent/service.md.",
    }
    text = "".join(f"{key}: {value}\n" for key, value in fields.items())
    scripts = (Entry(name, (_FILES / name).read_bytes(), _PROGRAM) for name in _SCRIPTS)
    return (Entry("control", text.encode()), Entry("md5sums", md5sums(contents)), *scripts)


def _dependencies(architecture: Architecture) -> tuple[str, ...]:
    """Return what must be installed: a Python for which the package has compiled libraries.

    Where they are compiled here, that is one Python; others have their own msgspec or none, as Debian 13 for armhf.
    """
    # openssl makes the key and the request of a device that enrols.
    always = ("init-system-helpers (>= 1.52)", "libc6 (>= 2.28)", "openssl", "passwd")
    if architecture.platforms:
        return (f"python3 (>= {PYTHONS[0]})", f"python3 (<< {_after(PYTHONS[-1])})", *always)
    here = python_here()
    others = "python3-msgspec (>= 0.19)"
    return (f"python3 (>= {here})", f"python3 (<< {_after(here)}) | {others}", *always)


def _after(python: str) -> str:
    major, _, minor = python.partition(".")
    return f"{major}.{int(minor) + 1}"
