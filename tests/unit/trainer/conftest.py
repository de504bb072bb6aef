"""What tests of the trainer share: the tables of an empty metadata store, which take seconds to make."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import pytest

from trainer.registry.tracking import STORE_NAME, open_client

NewStore = Callable[[Path], Path]


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> NewStore:
    """Put an empty metadata store into a state folder, as `open_client` would make it; return the folder."""
    template = tmp_path_factory.mktemp("mlflow")
    open_client(template).search_experiments()

    def put(state: Path) -> Path:
        state.mkdir(parents=True, exist_ok=True)
        copy(template / STORE_NAME, state / STORE_NAME)
        return state

    return put
