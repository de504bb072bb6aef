"""Opens the metadata store: MLflow on SQLite in the project's state folder, on PostgreSQL, or a server, by address."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from trainer.errors import RegistryError
from trainer.project.project import LoadedProject
from trainer.project.stores import hidden
from trainer.registry.empty_store import keep_empty_store, lay_empty_store

STORE_NAME: Final = "mlflow.db"
ARTEFACTS_NAME: Final = "artefacts"


def tracking_uri(state: Path) -> str:
    """Return the URI of the store in a state folder."""
    return f"sqlite:///{state / STORE_NAME}"


def store_address(loaded: LoadedProject) -> str:
    """Return the address of a project's metadata store."""
    return loaded.stores.metadata or tracking_uri(loaded.state)


def is_server(address: str) -> bool:
    """Tell whether an address is of an MLflow server, and not of a database."""
    return address.startswith(("http://", "https://"))


def open_client(state: Path, uri: str | None = None) -> MlflowClient:
    """Open the store; its tables are made where there are none.

    Args:
        state: folder of everything that Fieldloop keeps.
        uri: of a database or an MLflow server instead.

    Raises:
        RegistryError: a database that is not there, or refuses us.
    """
    state.mkdir(parents=True, exist_ok=True)
    # The store tells of every table it makes; a user's terminal is not the place.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # A bar for every file that is fetched would stand in the middle of our own.
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)  # type: ignore[no-untyped-call] # they type no values
    address = uri or tracking_uri(state)
    own = state / STORE_NAME if address == tracking_uri(state) else None
    is_new = own is not None and not own.exists() and not lay_empty_store(own)
    with told("be opened", address):
        client = MlflowClient(tracking_uri=address, registry_uri=address)
    if own is not None and is_new:
        keep_empty_store(own)
    return client


def ensure_experiment(client: MlflowClient, name: str, state: Path, artefacts: str | None = None) -> str:
    """Return the id of an experiment.

    Args:
        client: of the store.
        name: of the experiment, made where there is none.
        state: folder in which its artefacts lie, unless a server keeps them.
        artefacts: a folder or an address that other machines reach as well, for its artefacts.
    """
    with told("be read", str(client.tracking_uri)):
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        if artefacts is None and is_server(str(client.tracking_uri)):
            place = None
        elif artefacts is not None and "://" in artefacts:
            place = f"{artefacts.rstrip('/')}/{name}"
        else:
            place = (state / ARTEFACTS_NAME if artefacts is None else Path(artefacts) / name).resolve().as_uri()
        return str(client.create_experiment(name, artifact_location=place))


@contextmanager
def told(what: str, address: str = "") -> Iterator[None]:
    """Turn MLflow's errors into ours, without the passwords that they quote.

    Args:
        what: could not be done with the store: ``be opened``.
        address: of the store.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        of = f" {hidden(address)}" if address else ""
        # Of a database's words only the first line says what happened.
        why = hidden(str(error)).partition("\n")[0]
        raise RegistryError(f"the metadata store{of} cannot {what}: {why}") from error
