import pytest

from trainer.registry.tracking import ARTEFACTS_NAME, STORE_NAME, ensure_experiment, open_client, tracking_uri


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """The folder's name needs care in a URI."""
    return tmp_path_factory.mktemp("state") / "Größe 1 # alt"


@pytest.fixture(scope="module")
def client(state):
    return open_client(state)


def test_the_store_is_one_file_in_the_state_folder(state, client):
    experiment = ensure_experiment(client, "quality", state)
    client.create_run(experiment)
    assert (state / STORE_NAME).is_file()
    assert tracking_uri(state) == f"sqlite:///{state}/{STORE_NAME}"
    assert {path.name for path in state.parent.iterdir()} == {state.name}


def test_an_experiment_is_made_once_and_found_by_every_client(state, client):
    first = ensure_experiment(client, "once", state)
    assert ensure_experiment(client, "once", state) == first
    assert ensure_experiment(open_client(state), "once", state) == first
    assert ensure_experiment(client, "other", state) != first


def test_what_runs_log_lies_in_the_state_folder(state, client):
    run = client.create_run(ensure_experiment(client, "logging", state))
    client.log_text(run.info.run_id, "kept", "note.txt")
    (note,) = (state / ARTEFACTS_NAME).rglob("note.txt")
    assert note.read_text() == "kept"


def test_runs_outlive_the_client_that_made_them(state, client):
    run = client.create_run(ensure_experiment(client, "kept", state))
    client.log_metric(run.info.run_id, "quality", 0.5)
    assert open_client(state).get_run(run.info.run_id).data.metrics == {"quality": 0.5}


def test_a_servers_address_is_taken_as_it_is(tmp_path):
    client = open_client(tmp_path / "state", "http://127.0.0.1:9")
    assert client.tracking_uri == "http://127.0.0.1:9"
    assert list((tmp_path / "state").iterdir()) == []
