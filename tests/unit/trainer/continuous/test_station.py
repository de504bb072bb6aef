import random

import pytest

from broker.client import Delivery, Endpoint
from broker.messages import BundleRef
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent.clock import SystemClock
from tests.unit.trainer.cli.projects import write_small_project
from trainer.continuous.runner import FoundRun
from trainer.continuous.station import Station, find_run, usual_places
from trainer.continuous.story import State
from trainer.monitoring.intake import Intake
from trainer.pipeline.artefacts import save_value
from trainer.pipeline.runs import HEAD_NAME, RESULT_NAME, RUNS_NAME, RunEnd, RunHead
from trainer.project.loading import load_project


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
    assert find_run(state, "mend-2-2000") == FoundRun(f"{2:032x}", None)


def outcome_of(state, token):
    found = find_run(state, token)
    assert found is not None
    assert found.outcome is not None
    return found.outcome


def test_a_run_that_was_promoted_is_found_with_its_bundle(state):
    run_id = f"{2:032x}"
    folder = state / RUNS_NAME / run_id
    save_value(folder / RESULT_NAME, RunEnd(promoted=True, version=4, reason="better by 0.1", ended_utc_s=5000.0))
    outcome = outcome_of(state, "mend-2-2000")
    assert (outcome.kind, outcome.reason, outcome.run_id, outcome.version) == ("promoted", "better by 0.1", run_id, 4)
    assert outcome.bundle == str(folder / "export" / "bundle")
    assert outcome.facts["ended_utc_s"] == 5000.0


def test_a_run_that_was_refused_is_found_without_a_bundle(state):
    end = RunEnd(promoted=False, version=4, reason="worse by 0.1", ended_utc_s=5000.0)
    save_value(state / RUNS_NAME / f"{0:032x}" / RESULT_NAME, end)
    outcome = outcome_of(state, "mend-1-1000")
    assert (outcome.kind, outcome.reason, outcome.version, outcome.bundle) == ("refused", "worse by 0.1", 4, "")


def test_a_run_whose_version_waits_for_approval_is_found_as_that(state):
    end = RunEnd(promoted=False, version=4, reason="a person must approve it", ended_utc_s=5000.0, waits=True)
    save_value(state / RUNS_NAME / f"{0:032x}" / RESULT_NAME, end)
    outcome = outcome_of(state, "mend-1-1000")
    assert (outcome.kind, outcome.reason, outcome.version) == ("waits", "a person must approve it", 4)


def test_the_end_of_a_run_of_an_earlier_release_is_read(state):
    text = '{"promoted":false,"version":4,"reason":"worse by 0.1","ended_utc_s":5000.0}'
    (state / RUNS_NAME / f"{0:032x}" / RESULT_NAME).write_text(text)
    assert outcome_of(state, "mend-1-1000").kind == "refused"


@pytest.mark.parametrize("token", ["mend-3-3000", "mend-2", "2-2000"])
def test_no_other_run_is_taken_for_it(state, token):
    assert find_run(state, token) is None


def test_a_state_without_runs_holds_none(tmp_path):
    assert find_run(tmp_path, "mend-1-1000") is None


def test_a_fleet_is_watched_before_anything_was_published(tmp_path, free_ports):
    loaded = load_project(write_small_project(tmp_path))
    (port,) = free_ports(1)
    places = usual_places(loaded, Endpoint("127.0.0.1", port))
    station = Station(loaded, places, clock=SystemClock(), rng=random.Random(1))
    try:
        assert station.step().state is State.WATCHING
        assert station.manifest_of(BundleRef("quality", 1)) is None
    finally:
        station.close()


def test_a_device_whose_messages_are_refused_is_told_in_the_file_of_alerts(tmp_path, free_ports):
    loaded = load_project(write_small_project(tmp_path))
    (port,) = free_ports(1)
    clock = SystemClock()
    station = Station(loaded, usual_places(loaded, Endpoint("127.0.0.1", port)), clock=clock, rng=random.Random(1))
    try:
        topic = Topic(FleetId("main"), DeviceId("press-1"), Channel.STATUS)
        Intake(station.store, clock).take([Delivery(topic, b"\x07", retained=False)])
        station.step()
    finally:
        station.close()
    (line,) = (loaded.state / "alerts.jsonl").read_text().splitlines()
    assert '"messages_refused"' in line
    assert "device:press-1" in line
