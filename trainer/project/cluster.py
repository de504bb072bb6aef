"""Where heavy work may be done: the section ``[cluster]``, an address and the certificates for it.

Nothing here connects. What comes out of a run does not depend on where it was done, so no record holds this section.
"""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trainer.errors import ProjectError
from trainer.project.section import Section

_KEY: Final = "key 'cluster.{name}'"
_OPTION: Final = "--dask"
_ENCRYPTED: Final = "tls"
_SCHEMES: Final = ("tcp", _ENCRYPTED)
_FILES: Final = ("ca", "certificate", "key")


class ClusterSection(Section, frozen=True, kw_only=True):
    """A Dask cluster that searches and scores instead of this process.

    Attributes:
        dask: address of its scheduler, ``tcp://host:port`` or ``tls://host:port``; None: this process does it all.
        ca: file with the certificates that the scheduler's and the workers' own must come from; for ``tls://`` alone.
        certificate: file with our certificate.
        key: file with its key; None: it stands in the file of the certificate.
    """

    dask: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


def cluster_problems(section: ClusterSection) -> list[str]:
    """List what is wrong in the file's section."""
    problems = [] if section.dask is None else _address_problems(section.dask, _KEY.format(name="dask"))
    if section.key is not None and section.certificate is None:
        problems.append("key 'cluster.key': a key without its certificate; name that in 'cluster.certificate'")
    encrypted = section.dask is None or urlsplit(section.dask).scheme == _ENCRYPTED
    given = [name for name in _FILES if getattr(section, name) is not None]
    if given and not encrypted:
        problems.append(
            f"{_KEY.format(name=given[0])}: {section.dask} is not encrypted; the address begins with tls:// where "
            "certificates are used"
        )
    return problems


def resolve_cluster(section: ClusterSection, folder: Path) -> ClusterSection:
    """Return the section with the paths of its files made whole; they start from the project's folder."""
    whole = {name: str(folder / value) for name in _FILES if (value := getattr(section, name)) is not None}
    return msgspec.structs.replace(section, **whole)


def at_address(section: ClusterSection, address: str | None) -> ClusterSection:
    """Return the section with the address that a command was given, if any.

    Raises:
        ProjectError: it is no address of a scheduler.
    """
    if address is None:
        return section
    for problem in _address_problems(address, _OPTION):
        raise ProjectError(problem)
    if urlsplit(address).scheme != _ENCRYPTED:
        return ClusterSection(dask=address)
    return msgspec.structs.replace(section, dask=address)


def _address_problems(address: str, where: str) -> list[str]:
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in _SCHEMES and bool(parts.hostname) and bool(parts.port) and not parts.path
    except ValueError:
        is_one = False
    if is_one:
        return []
    problem = (
        f"{where}: {address!r} is no address of a Dask scheduler; it is tcp://HOST:PORT, or tls://HOST:PORT, as the "
        "scheduler prints it when it starts"
    )
    return [problem]
