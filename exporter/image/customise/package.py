"""Reads who a Debian package is for (deb(5)), on machines that have no dpkg too."""

import io
import lzma
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.image.customise.errors import CustomiseError

NAME: Final = "fieldloop-agent"
_MAGIC: Final = b"!<arch>\n"
_HEADER_BYTES: Final = 60
_SIZE: Final = slice(48, 58)
_MAX_BYTES: Final = 256 << 20
_FIELD: Final = re.compile(r"^(Package|Version|Architecture): *(\S+) *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AgentPackage:
    """The agent's Debian package.

    Attributes:
        architecture: Debian's name.
        content: the file.
    """

    path: Path
    version: str
    architecture: str
    content: bytes = field(repr=False)


def load_package(path: Path) -> AgentPackage:
    """Read a package.

    Raises:
        CustomiseError: it cannot be read, or is not the agent's.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise CustomiseError(
            f"{path} cannot be read: {error.strerror}; `make deb` builds the agent's package"
        ) from error
    try:
        fields = dict(_FIELD.findall(_control(content)))
        if fields["Package"] != NAME or len(content) > _MAX_BYTES:
            raise CustomiseError(f"{path} is the package {fields['Package']}, not {NAME}")
        return AgentPackage(path, fields["Version"], fields["Architecture"], content)
    except (ValueError, KeyError, lzma.LZMAError, tarfile.TarError) as error:
        raise CustomiseError(f"{path} is no Debian package that can be read: {error}") from error


def choose_package(packages: tuple[AgentPackage, ...], architecture: str, whose: str) -> AgentPackage:
    """Return the package for an architecture.

    Raises:
        CustomiseError: there is none.
    """
    for package in packages:
        if package.architecture == architecture:
            return package
    given = ", ".join(f"{package.path.name} ({package.architecture})" for package in packages) or "none"
    raise CustomiseError(
        f"{whose} is {architecture}, and there is no package for it: given {given}; `make deb ARGS={architecture}` "
        "builds it, --package names it"
    )


def _control(content: bytes) -> str:
    """Return the text ``control`` of a package, which lies in the second member of an ar archive."""
    if not content.startswith(_MAGIC):
        raise ValueError("it does not begin like one")
    position = len(_MAGIC)
    while position + _HEADER_BYTES <= len(content):
        header = content[position : position + _HEADER_BYTES]
        size, start = int(header[_SIZE]), position + _HEADER_BYTES
        if header.startswith(b"control.tar"):
            with tarfile.open(fileobj=io.BytesIO(content[start : start + size]), mode="r:*") as tar:
                file = tar.extractfile("./control")
                return "" if file is None else file.read().decode()
        position = start + size + size % 2
    raise ValueError("it has no control.tar")
