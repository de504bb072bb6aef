import json

import pyarrow.parquet as pq
import pytest
from msgspec import msgpack, structs

from broker.messages import AskLabels, Command, parse_as
from broker.topics import Channel, DeviceId
from exporter.errors import ExporterError
from tests.refusing import refuse_rows, take_rows
from tests.unit.trainer.continuous.conftest import HALF_WRONG
from tests.unit.trainer.simulated_fleet import LOSING, RIGHT
from trainer.continuous.runner import RunOutcome
from trainer.continuous.story import State
from trainer.monitoring.ledger import list_decisions, list_orders
from trainer.monitoring.store import StoreError
from trainer.monitoring.tables import ORDERS, SAMPLES


def lose_until(stage, state, *, limit=40, **how):
    """Let the whole fleet lose until the story has come to a state."""
    for _ in range(limit):
        if stage.loop.story.state is state:
            return
        stage.play(until=state, **({"right": HALF_WRONG} | how))
    raise AssertionError(f"the story stands at {stage.loop.story.state} after {limit} windows")


def test_a_fleet_as_usual_is_never_retrained_and_nobody_is_told(make_stage):
    stage = make_stage()
    stage.play(60)
    assert stage.runner.requests == []
    assert stage.alerts.sent == []
    assert "confirmed" not in stage.kinds()


def test_a_loss_is_asked_about_confirmed_mended_and_rolled_out(make_stage):
    stage = make_stage()
    stage.play(6)
    lose_until(stage, State.RUNNING)
    assert stage.kinds()[-3:] == ["sign", "confirmed", "gathered"]
    (request,) = stage.runner.requests
    assert (request.token, request.trigger) == (stage.loop.story.token, "deterioration")
    assert "This is called a loss" in request.reason
    stage.runner.outcome = stage.promoted()
    stage.play(4)
    assert [str(folder) for folder in stage.published] == ["/bundles/2"]
    assert set(stage.running.values()) == {2}
    assert stage.loop.story.state in (State.COOLING_DOWN, State.WATCHING)
    stage.play(8)
    assert stage.loop.story.state is State.WATCHING
    assert "rolled_out" in stage.kinds()
    assert len(stage.runner.requests) == 1


def test_a_loss_that_only_labels_can_see_is_noticed_by_the_background(make_stage):
    stage = make_stage()
    lose_until(stage, State.ASKED)
    assert "background labels" in stage.told[-1].text


def test_a_loss_of_confidence_is_noticed_without_a_label(make_stage):
    stage = make_stage(background_rows=0)
    stage.play(4, background=0)
    lose_until(stage, State.ASKED, shares=LOSING, right=RIGHT, background=0)
    assert "estimated quality" in stage.told[-1].text


def test_the_rows_to_learn_from_were_scored_after_the_first_sign_and_never_later_than_now(make_stage):
    stage = make_stage()
    stage.play(10)
    lose_until(stage, State.RUNNING)
    onset = stage.loop.story.onset_utc_s
    (file,) = (stage.loaded.state / "features" / "labelled").glob("*.parquet")
    table = pq.read_table(file)
    assert table.num_rows >= 100
    assert min(table.column("scored_utc_s").to_pylist()) >= onset > 1000
    assert max(table.column("scored_utc_s").to_pylist()) <= stage.clock.now_s
    assert max(table.column("known_utc_s").to_pylist()) <= stage.clock.now_s


def test_never_more_labels_are_wanted_than_the_share_allows(make_stage):
    stage = make_stage(max_label_share=0.1)
    stage.play(12, right=HALF_WRONG)
    first = next(i for i, d in enumerate(list_decisions(stage.store, kind="ask")) if d.verdict == "ask")
    verdicts = [d.verdict for d in list_decisions(stage.store, kind="ask")]
    assert "no_budget" in verdicts[:first]


def test_an_ask_is_split_over_the_devices_and_sent_once(make_stage):
    stage = make_stage()
    lose_until(stage, State.ASKED)
    stage.loop.step()
    assert stage.asked_rows == dict.fromkeys("abcde", 12)
    orders = list_orders(stage.store, order_id=stage.loop.story.ask_id)
    assert {order.device for order in orders} == set("abcde")


def test_labels_that_clear_lead_to_a_cool_down_and_no_run(make_stage):
    stage = make_stage(background_rows=0)
    lose_until(stage, State.ASKED, shares=LOSING, right=RIGHT, background=0)
    # Confidence is low, but what is asked turns out to be right as often as ever.
    stage.play(6, shares=LOSING, right=RIGHT * 0 + 0.9, background=0)
    assert "cleared" in stage.kinds()
    assert stage.runner.requests == []


def test_labels_that_never_come_are_told_to_people(make_stage):
    stage = make_stage()
    lose_until(stage, State.ASKED)
    stage.is_labelled = False
    stage.play(14, right=HALF_WRONG)
    assert [alert.kind for alert in stage.alerts.sent] == ["labels_missing"]
    assert "labels_missing" in stage.kinds()
    assert stage.runner.requests == []


def test_labels_that_stop_while_gathering_are_told_to_people(make_stage):
    stage = make_stage(retrain_labels=10_000)
    lose_until(stage, State.COLLECTING)
    stage.is_labelled = False
    stage.play(14, right=HALF_WRONG)
    assert "labels_missing" in [alert.kind for alert in stage.alerts.sent]
    assert stage.runner.requests == []


def test_gathering_asks_again_when_devices_did_not_answer_in_full(make_stage):
    stage = make_stage(retrain_labels=250)
    lose_until(stage, State.COLLECTING)
    stage.has_link = False
    stage.play(7, right=HALF_WRONG)
    assert stage.loop.story.round == 2
    stage.has_link = True
    lose_until(stage, State.RUNNING)
    second_id = stage.loop.story.ask_id
    assert second_id.endswith("-2")
    first, second = (list_orders(stage.store, order_id=ask_id) for ask_id in (second_id[:-1] + "1", second_id))
    assert len(first) == len(second) == 5
    assert second[0].reason < first[0].reason


def test_rows_to_learn_from_may_be_chosen_for_what_they_are_and_rows_to_judge_by_never(make_stage):
    stage = make_stage(uncertain_share=0.5)
    lose_until(stage, State.COLLECTING)
    to_confirm = stage.loop.story.ask_id
    lose_until(stage, State.RUNNING)
    shares = {}
    for kept in list_orders(stage.store):
        ask = parse_as(Command, Channel.COMMAND, kept.body).order
        assert isinstance(ask, AskLabels)
        shares[kept.order_id] = ask.uncertain_share
    assert shares.pop(to_confirm) == 0.0
    assert set(shares.values()) == {0.5}


def test_a_refusing_gate_is_told_to_people_with_the_evidence(make_stage):
    stage = make_stage()
    stage.runner.outcome = RunOutcome("refused", "worse than the champion by 0.04", "r1", 2, facts={"gate": "previous"})
    lose_until(stage, State.COOLING_DOWN)
    (alert,) = [a for a in stage.alerts.sent if a.kind == "gate_refused"]
    assert "worse than the champion by 0.04" in alert.text
    assert alert.evidence["outcome"]["facts"] == {"gate": "previous"}
    assert stage.published == []


def test_a_candidate_that_waits_for_approval_is_told_as_that_and_not_as_refused(make_stage):
    stage = make_stage()
    stage.runner.outcome = RunOutcome("waits", "a person must approve it: fieldloop registry promote 2", "r1", 2)
    lose_until(stage, State.COOLING_DOWN)
    (alert,) = stage.alerts.sent
    assert alert.kind == "approval_wanted"
    assert "version 2 waits for approval" in alert.text
    assert "fieldloop registry promote 2" in alert.text
    assert "refused" not in alert.text
    assert stage.kinds()[-1] == "waits"
    assert [decision.verdict for decision in list_decisions(stage.store, kind="run")] == ["waits"]
    assert stage.published == []
    assert set(stage.running.values()) == {1}


def test_a_run_that_broke_off_for_good_is_told_to_people(make_stage):
    stage = make_stage()
    stage.runner.outcome = RunOutcome("broke_off", "exit code 6")
    lose_until(stage, State.COOLING_DOWN)
    assert [a.kind for a in stage.alerts.sent if a.kind == "run_failed"] == ["run_failed"]


def test_a_collapse_is_mended_and_told(make_stage):
    stage = make_stage()
    lose_until(stage, State.RUNNING, right=RIGHT * 0 + 0.1)
    assert "collapse" in [alert.kind for alert in stage.alerts.sent]


def test_a_rollout_that_fails_is_halted_and_told(make_stage):
    stage = make_stage()
    stage.fails = set("abcde")
    stage.runner.outcome = stage.promoted()
    lose_until(stage, State.COOLING_DOWN)
    assert "rollout_halted" in [alert.kind for alert in stage.alerts.sent]
    assert set(stage.running.values()) == {1}


def test_a_bundle_that_cannot_be_published_is_told_once_and_tried_again(make_stage, monkeypatch):
    stage = make_stage()
    publish = stage.publish_bundle
    problems = [ExporterError("the disk is full")] * 3

    def failing(folder):
        if problems:
            raise problems.pop()
        return publish(folder)

    monkeypatch.setattr(stage, "publish_bundle", failing)
    stage.loop = stage.make_loop()
    stage.runner.outcome = stage.promoted()
    lose_until(stage, State.COOLING_DOWN)
    assert [a.kind for a in stage.alerts.sent].count("publish_failed") == 1
    assert set(stage.running.values()) == {2}


def test_a_silent_sensor_in_the_whole_fleet_is_for_people_and_asks_for_nothing(make_stage):
    stage = make_stage()
    stage.play(4)
    stage.play(10, right=HALF_WRONG, missing=45)
    assert [alert.kind for alert in stage.alerts.sent] == ["skew"]
    assert "pressure" in stage.alerts.sent[0].text
    assert stage.runner.requests == []
    assert "sign" not in stage.kinds()


def test_a_silent_sensor_on_one_device_is_an_alert_about_that_device(make_stage):
    stage = make_stage()
    stage.play(8, missing=45, only="c")
    assert [(alert.kind, alert.scope) for alert in stage.alerts.sent] == [("device_skew", "device:c")]


def test_a_single_device_that_loses_is_an_alert_and_no_loss_of_the_fleet(make_stage):
    stage = make_stage(names="abcdefghijklmnopqrst")
    stage.play(14, right=RIGHT * 0 + 0.1, only="c")
    assert ("device_loss", "device:c") in [(alert.kind, alert.scope) for alert in stage.alerts.sent]
    assert len(stage.alerts.sent) == 1
    assert stage.runner.requests == []


def test_a_monitor_killed_and_started_anew_at_every_step_tells_the_same_story(make_stage):
    steady, killed = make_stage(), make_stage()
    for stage, restart in ((steady, False), (killed, True)):
        stage.play(6, restart=restart)
        stage.play(12, right=HALF_WRONG, restart=restart)
        stage.runner.outcome = stage.promoted()
        stage.play(10, restart=restart)
    assert [(e.at_utc_s, e.kind, e.text) for e in killed.told] == [(e.at_utc_s, e.kind, e.text) for e in steady.told]
    assert len(killed.runner.requests) == 1
    assert killed.asked_rows == steady.asked_rows
    assert killed.loop.story == steady.loop.story


@pytest.mark.parametrize("state", [State.ASKED, State.COLLECTING])
def test_a_monitor_killed_between_keeping_a_state_and_asking_asks_after_its_restart(make_stage, state):
    stage = make_stage()
    lose_until(stage, state)
    stage.loop.step()
    ask_id = stage.loop.story.ask_id
    with stage.store.writing() as connection:
        connection.execute(ORDERS.delete().where(ORDERS.c.order_id == ask_id))
    stage.make_loop().step()
    assert len(list_orders(stage.store, order_id=ask_id)) == 5


def test_asks_written_without_a_link_are_sent_when_it_is_back(make_stage):
    stage = make_stage()
    stage.has_link = False
    lose_until(stage, State.ASKED)
    stage.loop.step()
    assert sum(stage.asked_rows.values()) == 0
    stage.has_link = True
    stage.make_loop().step()
    assert sum(stage.asked_rows.values()) == 60


def test_a_rollout_by_hand_ends_a_story_about_the_old_bundle(make_stage):
    stage = make_stage()
    lose_until(stage, State.ASKED)
    operator = stage.loop.operator
    rules = stage.loop._rules.rollout
    operator.start(stage.manifests[3].ref, order_id="by-hand", by="ann", reason="better", shares=(1.0,), rules=rules)
    for _ in range(3):
        operator.step("by-hand")
    stage.play(1)
    assert "bundle_changed" in stage.kinds()
    assert stage.runner.requests == []


def test_every_decision_lies_in_the_store_with_its_evidence(make_stage):
    stage = make_stage()
    lose_until(stage, State.RUNNING)
    decisions = list_decisions(stage.store)
    assert {"ask", "confirm", "severity", "story"} <= {decision.kind for decision in decisions}
    assert all(json.loads(decision.evidence) for decision in decisions)
    confirmed = next(d for d in decisions if d.kind == "confirm")
    evidence = json.loads(confirmed.evidence)
    assert evidence["confirmation"]["labels"] >= 30
    assert evidence["diagnosis"]["features"][0]["name"] in ("pressure", "humidity")
    assert evidence["severity"]["verdict"] in ("mild", "collapse")


def mend(stage, version):
    """Lose, and let a run make a version, until the fleet has it and is watched again."""
    lose_until(stage, State.RUNNING)
    stage.runner.outcome = stage.promoted(version)
    for _ in range(30):
        stage.play(until=State.WATCHING)
        if stage.loop.story.state is State.WATCHING:
            return
    raise AssertionError(f"the story stands at {stage.loop.story.state}")


def test_a_second_mend_waits_for_its_labels_as_long_as_the_first(make_stage):
    stage = make_stage(retrain_labels=250)
    lose_until(stage, State.COLLECTING)
    stage.has_link = False  # without asks, labels of the background alone keep coming: slowly
    while stage.loop.story.gathered < 220:
        stage.play(right=HALF_WRONG)
    stage.has_link = True
    mend(stage, 2)
    stage.runner.outcome = None
    lose_until(stage, State.COLLECTING)
    stage.has_link = False
    stage.play(14, right=HALF_WRONG)
    assert stage.loop.story.state is State.COLLECTING
    assert "labels_missing" not in stage.kinds()


def test_a_second_skew_of_the_fleet_is_told_again(make_stage):
    stage = make_stage()
    stage.play(4)
    stage.play(6, missing=45)
    stage.play(6)
    assert [alert.kind for alert in stage.alerts.sent] == ["skew"]
    stage.play(6, missing=45)
    assert [alert.kind for alert in stage.alerts.sent] == ["skew", "skew"]


def test_a_second_bundle_that_cannot_be_published_is_told_again(make_stage, monkeypatch):
    stage = make_stage()
    publish = stage.publish_bundle
    problems: list[ExporterError] = []

    def failing(folder):
        if problems:
            raise problems.pop()
        return publish(folder)

    monkeypatch.setattr(stage, "publish_bundle", failing)
    stage.loop = stage.make_loop()
    for version in (2, 3):
        problems += [ExporterError("the disk is full")] * 3
        mend(stage, version)
        stage.runner.outcome = None
    assert [a.kind for a in stage.alerts.sent].count("publish_failed") == 2
    assert set(stage.running.values()) == {3}


def test_a_rollout_that_another_one_replaced_is_not_told_as_taken_back(make_stage):
    stage = make_stage()
    lose_until(stage, State.RUNNING)
    stage.has_link = False
    stage.runner.outcome = stage.promoted()
    lose_until(stage, State.ROLLING_OUT)
    stage.play()
    operator, rules = stage.loop.operator, stage.loop._rules.rollout
    operator.start(stage.manifests[3].ref, order_id="by-hand", by="ann", reason="better", shares=(1.0,), rules=rules)
    stage.play()
    (alert,) = [a for a in stage.alerts.sent if a.kind == "rollout_halted"]
    assert "weather/2 was ended: a newer rollout took its place: by-hand." in alert.text
    assert "taken back" not in alert.text


def test_a_failed_rollout_is_told_as_taken_back(make_stage):
    stage = make_stage()
    stage.fails = set("abcde")
    stage.runner.outcome = stage.promoted()
    lose_until(stage, State.COOLING_DOWN)
    (alert,) = [a for a in stage.alerts.sent if a.kind == "rollout_halted"]
    assert "weather/2 was halted and taken back: 1 of" in alert.text


def test_an_ask_that_was_cut_off_half_way_is_made_again_for_every_device(make_stage):
    stage = make_stage()
    with stage.store.writing() as connection:
        refuse_rows(connection, "orders", "NEW.device = 'c'")
    with pytest.raises(StoreError):
        lose_until(stage, State.COLLECTING)
    assert stage.loop.story.state is State.ASKED
    with stage.store.writing() as connection:
        take_rows(connection, "orders")
    stage.make_loop().step()
    orders = list_orders(stage.store, order_id=stage.loop.story.ask_id)
    assert {order.device for order in orders} == set(map(DeviceId, "abcde"))
    assert stage.asked_rows == dict.fromkeys("abcde", 12)


def test_the_turn_to_a_run_says_how_many_rows_and_keeps_the_reason_among_its_facts(make_stage):
    stage = make_stage()
    lose_until(stage, State.RUNNING)
    event = stage.told[-1]
    assert event.text == f"Retraining with {event.facts['rows']} labelled rows of the fleet."
    assert event.facts["why"] == stage.loop.story.reason != ""


def test_the_alert_of_a_collapse_begins_like_a_sentence(make_stage):
    stage = make_stage()
    lose_until(stage, State.RUNNING, right=RIGHT * 0 + 0.1)
    (alert,) = [a for a in stage.alerts.sent if a.kind == "collapse"]
    assert alert.text.startswith("A collapse: a loss of 0.")


def test_a_row_of_another_order_of_features_is_learned_from_under_its_names(make_stage):
    stage = make_stage()
    turned = stage.manifests[1].features[::-1]
    stage.manifests[1] = structs.replace(stage.manifests[1], features=turned)
    lose_until(stage, State.RUNNING)
    with stage.store.reading() as connection:
        sent = {row.prediction_id: msgpack.decode(row.features) for row in connection.execute(SAMPLES.select())}
    (file,) = (stage.loaded.state / "features" / "labelled").glob("*.parquet")
    stored = pq.read_table(file).select(["prediction_id", "x.humidity", "x.pressure"]).to_pylist()
    assert all(sent[row["prediction_id"]] == [row["x.humidity"], row["x.pressure"]] for row in stored)
