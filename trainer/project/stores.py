"""Where everything is kept that is kept: the section ``[stores]``, addresses alone.

The environment overrides the file (``FIELDLOOP_STORES_METADATA`` …), and it is the only place for a password: the file
is read by many, and what a run records of its project is seen by all. Nothing here opens a store.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trainer.errors import ProjectError
from trainer.project.section import Section

PREFIX: Final = "FIELDLOOP_STORES_"
_HIDDEN: Final = "***"
# Of user:password@host; what a password must not contain unescaped ends it. A second @ belongs to the password.
_PASSWORD: Final = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^:/?#@\s]*):(?P<password>[^/?#\s]*)@", re.IGNORECASE)
# The same in a query, as PostgreSQL's driver and object stores take it.
_SECRET_KEY: Final = re.compile(r"(?P<key>[?&;](?:password|secret|token|key)=)[^&#;\s]*", re.IGNORECASE)
_DATABASES: Final = ("sqlite", "postgresql", "postgresql+psycopg")
_SCHEMES: Final[Mapping[str, tuple[str, ...]]] = {
    "metadata": (*_DATABASES, "http", "https"),
    "search": _DATABASES,
    "telemetry": _DATABASES,
    "online": _DATABASES,
}


class StoresSection(Section, frozen=True, kw_only=True):
    """Addresses of what several machines may share; what is not set lies in the state folder of this machine.

    A password belongs into the environment, which overrides this section: FIELDLOOP_STORES_METADATA and so on.

    Attributes:
        metadata: of runs and of the registry: ``sqlite:///file``, ``postgresql+psycopg://user@host/name``, or an MLflow
            server's ``http://host:port``; None: mlflow.db in the state folder.
        artefacts: of the files of runs: a folder that all machines reach, or an object store's address; None: the
            MLflow server's own, else a folder in the state folder, which other machines cannot fetch from.
        search: of the trials of the search, a database; None: a file of the run.
        telemetry: of what devices send, a database; None: fleet.db in the state folder.
        features: of the feature store's tables: a folder or an object store's address; None: in the state folder.
        online: of the newest features by entity, a database; None: a file in the state folder.
    """

    metadata: str | None = None
    artefacts: str | None = None
    search: str | None = None
    telemetry: str | None = None
    features: str | None = None
    online: str | None = None

    def __repr__(self) -> str:
        """Return the addresses without their passwords: a traceback or a log shows this."""
        known = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return f"StoresSection({', '.join(f'{name}={hidden(value)!r}' for name, value in known if value)})"


def hidden(text: str) -> str:
    """Return an address, or a text that quotes one, with every password in it replaced by stars."""
    return _SECRET_KEY.sub(rf"\g<key>{_HIDDEN}", _PASSWORD.sub(rf"\g<before>:{_HIDDEN}@", text))


def resolve_stores(section: StoresSection, folder: Path, environ: Mapping[str, str]) -> StoresSection:
    """Return the addresses in use: the environment's before the file's; folders start from the project's.

    Raises:
        ProjectError: an address of another kind than its store takes, or an unknown name in the environment.
    """
    names = {f"{PREFIX}{name.upper()}": name for name in StoresSection.__struct_fields__}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in names:
            raise ProjectError(f"{variable}: there is no such store; there are: {', '.join(sorted(names))}")
    given = {name: environ[variable] for variable, name in names.items() if environ.get(variable)}
    both = msgspec.structs.replace(section, **given)
    wheres = {name: variable if name in given else f"key 'stores.{name}'" for variable, name in names.items()}
    found = {name: getattr(both, name) for name in names.values()}
    whole = {
        name: None if address is None else _whole(name, address, folder, wheres[name])
        for name, address in found.items()
    }
    return StoresSection(**whole)


def feature_address(section: StoresSection, state: Path) -> str:
    """Return where the feature store lies: where it is said, else in the state folder."""
    return section.features or str(state / "features" / "store")


def store_problems(section: StoresSection) -> list[str]:
    """List what is wrong in the file's section: a password in it."""
    return [
        f"key 'stores.{name}': {hidden(address)} holds a password, which does not belong into this file; put the whole "
        f"address into the environment variable {PREFIX}{name.upper()}"
        for name in StoresSection.__struct_fields__
        if (address := getattr(section, name)) and hidden(address) != address
    ]


def _whole(name: str, address: str, folder: Path, where: str) -> str:
    scheme = urlsplit(address).scheme.lower()
    allowed = _SCHEMES.get(name)
    if allowed is None:
        # A folder; a drive's letter is no scheme.
        return address if "://" in address else str(folder / address)
    if scheme not in allowed:
        raise ProjectError(f"{where}: {hidden(address)!r} is no address of it; it begins with {_spoken(allowed)}")
    # SQLAlchemy would look for another driver than the one that is installed with us.
    return address.replace("postgresql://", "postgresql+psycopg://", 1) if scheme == "postgresql" else address


def _spoken(schemes: tuple[str, ...]) -> str:
    return " or ".join(f"{scheme}://" for scheme in schemes)
