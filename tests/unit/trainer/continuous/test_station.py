import pytest

from trainer.continuous.station import find_run
from trainer.pipeline.artefacts import save_value
from trainer.pipeline.runs import HEAD_NAME, RUNS_NAME, RunHead


@pytest.fixture
def state(tmp_path):
    for number, token in enumerate(("mend-1-1000", "mend-2-2000", "mend-2-2000")):
        run_id = f"{number:032x}"
        folder = tmp_path / RUNS_NAME / run_id
        folder.mkdir(parents=True)
        head = RunHead(run_id, "weather", "deterioration", f"a loss ({token})", float(number), 1, "code", "host")
        save_value(folder / HEAD_NAME, head)
    return tmp_path


def test_the_latest_run_whose_reason_names_the_token_is_found(state):
    assert find_run(state, "mend-2-2000") == f"{2:032x}"


@pytest.mark.parametrize("token", ["mend-3-3000", "mend-2", "2-2000"])
def test_no_other_run_is_taken_for_it(state, token):
    assert find_run(state, token) is None


def test_a_state_without_runs_holds_none(tmp_path):
    assert find_run(tmp_path, "mend-1-1000") is None
