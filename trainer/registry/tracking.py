"""Opens the metadata store: MLflow on SQLite, in the project's state folder, or a server by its URI."""

import logging
from pathlib import Path
from typing import Final

from mlflow import MlflowClient

STORE_NAME: Final = "mlflow.db"
ARTEFACTS_NAME: Final = "artefacts"


def tracking_uri(state: Path) -> str:
    """Return the URI of the store in a state folder."""
    return f"sqlite:///{state / STORE_NAME}"


def open_client(state: Path, uri: str | None = None) -> MlflowClient:
    """Open the store; its tables are made where there are none.

    Args:
        state: folder of everything that Fieldloop keeps.
        uri: of an MLflow server instead.
    """
    state.mkdir(parents=True, exist_ok=True)
    # The store tells of every table it makes; a user's terminal is not the place.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    address = uri or tracking_uri(state)
    return MlflowClient(tracking_uri=address, registry_uri=address)


def ensure_experiment(client: MlflowClient, name: str, state: Path) -> str:
    """Return the id of an experiment; its artefacts lie in the state folder."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    place = (state / ARTEFACTS_NAME).resolve().as_uri()
    return str(client.create_experiment(name, artifact_location=place))
