"""Each message has an answer, in its place: a prediction, or why there is none."""

import asyncio
import json

import pytest

from tests.looked_up import MACHINES, entities_of, put
from tests.serving import GOOD, running
from trainer.errors import DataError
from trainer.features.online.sqlite_store import SqliteOnline
from trainer.serving.entities import StoreAwayError
from trainer.serving.server import Beside
from trainer.serving.topics.answering import Answering
from trainer.serving.topics.stream import matches

ROW = dict(zip("abc", GOOD, strict=True))


def answers(service, *messages):
    payloads = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages]
    answering = Answering(service.service).answers(payloads, [f"id-{place}" for place in range(len(payloads))])
    told = asyncio.run_coroutine_threadsafe(answering, service.service.loop).result(30)
    return [json.loads(each) for each in told]


@pytest.fixture(scope="module")
def toy(bundles):
    with running(bundles[1]) as service:
        yield service


def test_rows_are_answered_in_their_order_as_by_http(toy):
    _, http = toy.infer(GOOD)
    expected = {output["name"]: output["data"] for output in http["outputs"]}
    named, listed = answers(toy, ROW | {"row_id": "r-7", "more": True}, list(GOOD))
    assert (named["id"], named["row_id"], named["bundle"]) == ("id-0", "r-7", "toy/1")
    assert (named["label"], named["confidence"]) == ("high", round(expected["confidence"][0], 6))
    assert (listed["id"], listed["label"], "row_id" in listed) == ("id-1", "high", False)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"no json", "malformed: the message is no row: send a JSON object"),
        (b"\xff", "malformed: the message is no row"),
        (b'"text"', "malformed: the message is no row"),
        (b"[" * 100_000, "malformed: the message is no row"),
        (b" " * (1 << 20) + b"[1,2,3]", "malformed: the message is no row"),
        ({"a": {"deep": 1}}, "malformed: the message is no row"),
        ([1.0, 2.0], "wrong_length: row of 2 values, the bundle takes 3"),
        ({"a": 1.0, "c": 1.0}, "missing: feature 'b' has no value"),
        (ROW | {"a": "much"}, "not_a_number: feature 'a' is 'much', not a number"),
        (ROW | {"a": True}, "not_a_number: feature 'a' is 'true', not a number"),
    ],
)
def test_a_message_that_cannot_be_scored_is_answered_with_the_reason_and_the_others_are_scored(toy, message, said):
    first, bad, last = answers(toy, ROW, message, ROW)
    assert bad["refused"].startswith(said)
    assert (bad["id"], "label" in bad) == ("", False)
    assert [first["label"], last["label"]] == ["high", "high"]


def test_a_refused_row_has_its_own_name_too(toy):
    (bad,) = answers(toy, {"row_id": 17, "a": 1.0})
    assert (bad["row_id"], bad["refused"]) == (17, "missing: feature 'b' has no value")


def test_rows_that_name_a_machine_are_looked_up_together(bundles, tmp_path, monkeypatch):
    store = SqliteOnline(tmp_path / "online.db")
    put(store, MACHINES, ["m1"], b=GOOD[1], c=GOOD[2])
    entities = entities_of(store, "machines")
    asked = []
    find_many = SqliteOnline.find_many

    def note(*args):
        asked.append(args[2])
        return find_many(*args)

    monkeypatch.setattr(SqliteOnline, "find_many", note)
    with running(bundles[1], beside=Beside(entities)) as service:
        whole, named, unknown, odd, again = answers(
            service,
            ROW,
            {"a": GOOD[0], "machine_id": "m1", "row_id": 1},
            {"a": GOOD[0], "machine_id": "m9", "row_id": 2},
            {"machine_id": "m1"},
            {"a": GOOD[0], "machine_id": "m1", "row_id": 3},
        )
        assert named["confidence"] == again["confidence"] == whole["confidence"]
        assert unknown["refused"] == ("missing: feature 'b' has no value: view 'machines' knows no machine_id 'm9'")
        assert odd["refused"].startswith("malformed: no input 'a', and no view that is looked up has it")
        # A key of another kind costs its own row alone.
        bad, good = answers(service, {"a": GOOD[0], "machine_id": 4}, {"a": GOOD[0], "machine_id": "m1"})
        assert bad["refused"] == "malformed: input 'machine_id': '4' is no text; send it as BYTES"
        assert good["label"] == "high"
        # A store that is away is no answer: the messages wait.
        monkeypatch.setattr(SqliteOnline, "find_many", lambda *_: _fail())
        with pytest.raises(StoreAwayError):
            answers(service, {"a": GOOD[0], "machine_id": "m1"})
        assert service.service.holder.model.in_flight == 0
    assert len(asked[0]) == 2
    entities.close()
    store.close()


def _fail():
    raise DataError("away")


def test_rows_of_a_topic_are_counted(bundles):
    with running(bundles[1]) as service:
        answers(service, ROW, b"no row")
        figures = service.ask("GET", "/metrics")[1].decode()
    assert 'fieldloop_serving_rows_total{model="toy",outcome="scored",version="1"} 1.0' in figures
    assert 'fieldloop_serving_rows_total{model="toy",outcome="refused",version="1"} 1.0' in figures


@pytest.mark.parametrize(
    ("topic_filter", "topic", "is_match"),
    [
        ("press/7/rows", "press/7/rows", True),
        ("press/7/rows", "press/8/rows", False),
        ("press/+/rows", "press/8/rows", True),
        ("press/+", "press/8/rows", False),
        ("press/+/rows", "press/8", False),
        ("press/#", "press/8/rows", True),
        ("press/#", "press", True),
        ("#", "answers", True),
        ("$share/scorers/press/+/rows", "press/8/rows", True),
    ],
)
def test_a_filter_takes_what_the_standard_says(topic_filter, topic, is_match):
    assert matches(topic_filter, topic) is is_match
