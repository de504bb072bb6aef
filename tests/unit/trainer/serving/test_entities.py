"""Rows that name an entity: what is looked up, what a request says itself, and what becomes of what is not there."""

import json
import threading

import pytest
from msgspec.structs import replace

from edge_agent.clock import SystemClock
from edge_agent.sensing.http_message import HttpError
from tests.bundles import FEATURES
from tests.looked_up import MACHINES, PLACES, VIEWS, entities_of, put
from tests.serving import GOOD, INFER, Shelf, running
from tests.waiting import wait_until
from trainer.errors import DataError
from trainer.features.online.lookup import Lookup
from trainer.features.online.sqlite_store import SqliteOnline
from trainer.serving.asked_views import open_views
from trainer.serving.errors import ServingError
from trainer.serving.limits import Limits
from trainer.serving.model import open_model
from trainer.serving.server import Beside


@pytest.fixture
def store(tmp_path):
    made = SqliteOnline(tmp_path / "online.db")
    put(made, MACHINES, ["m1"], b=GOOD[1], c=GOOD[2], d=7.0)
    put(made, MACHINES, ["old"], age_s=3 * 3600, b=2.0, c=0.5)
    put(made, MACHINES, ["gap"], b=2.0, c=None)
    put(made, PLACES, ["east", 4], c=0.5, is_open=True)
    yield made
    made.close()


@pytest.fixture
def machines(store):
    made = entities_of(store, "machines")
    yield made
    made.close()


def tensor(name, values, datatype="FP32"):
    return {"name": name, "shape": [len(values), 1], "datatype": datatype, "data": values}


def ask(service, *tensors):
    status, answer, _ = service.ask("POST", INFER, json.dumps({"inputs": tensors}))
    outputs = {output["name"]: output["data"] for output in answer.get("outputs", ())}
    return status, outputs or answer["error"]


def test_a_row_that_names_its_machine_is_answered_as_the_same_row_with_its_features(bundles, machines):
    with running(bundles[1], beside=Beside(machines)) as service:
        expected = {output["name"]: output["data"] for output in service.infer(GOOD)[1]["outputs"]}
        status, found = ask(service, tensor("a", [GOOD[0]]), tensor("machine_id", ["m1"], "BYTES"))
        assert (status, found["probabilities"]) == (200, expected["probabilities"])
        figures = service.ask("GET", "/metrics")[1].decode()
    assert 'fieldloop_serving_entities_total{outcome="found",view="machines"} 1.0' in figures


def test_what_a_row_brings_itself_is_not_looked_up(bundles, machines):
    with running(bundles[1], beside=Beside(machines)) as service:
        _, other = ask(service, tensor("a", [1.0]), tensor("b", [-9.0]), tensor("machine_id", ["m1"], "BYTES"))
        _, whole = ask(service, tensor("a", [1.0]), tensor("b", [-9.0]), tensor("c", [GOOD[2]]))
        # A value that is missing is brought too.
        status, said = ask(service, tensor("a", [1.0]), tensor("b", [None]), tensor("machine_id", ["m1"], "BYTES"))
    assert other["probabilities"] == whole["probabilities"]
    assert (status, said) == (400, "missing: feature 'b' has no value")


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ("m9", "missing: feature 'b' has no value: view 'machines' knows no machine_id 'm9'"),
        (
            "old",
            (
                "missing: feature 'b' has no value: what view 'machines' knows of machine_id 'old' is 3.0 h old, "
                "and valid for 2.0 h"
            ),
        ),
        (None, "missing: feature 'b' has no value: the row has no machine_id, by which view 'machines' is asked"),
        ("gap", "missing: feature 'c' has no value"),
    ],
)
def test_an_entity_that_is_unknown_or_stale_is_a_missing_value_that_the_model_refuses(bundles, machines, machine, said):
    with running(bundles[1], beside=Beside(machines)) as service:
        assert ask(service, tensor("a", [1.0]), tensor("machine_id", [machine], "BYTES")) == (400, said)
        # Beside one that is known it costs its own row alone.
        status, answer = ask(service, tensor("a", [1.0, 1.0]), tensor("machine_id", ["m1", machine], "BYTES"))
    assert (status, answer["refused"]) == (200, ["", said])


def test_a_model_that_takes_missing_values_gets_them(bundles, machines):
    entities = machines.complete({"a": [1.0], "machine_id": ["m9"]}, 1, FEATURES)
    assert entities.rows == [(1.0, None, None)]
    assert entities.counts == {("machines", "unknown"): 1}
    with running(bundles["gaps"], beside=Beside(machines)) as service:
        status, said = ask(service, tensor("a", [1.0]), tensor("machine_id", ["m9"], "BYTES"))
    # It is not refused as missing: this model has no answer to it, and says so itself.
    assert (status, said.partition(":")[0]) == (400, "runtime")


def test_two_keys_name_a_place_and_one_feature_of_a_view_may_be_wanted_alone(store):
    entities = entities_of(store, "machines:b", "places")
    columns: dict[str, list[str | float | None]] = {"machine_id": ["m1"], "line": ["east"], "place": [4]}
    assert entities.complete(columns, 1, ("c", "b", "is_open")).rows == [(0.5, GOOD[1], "true")]
    assert entities.complete(columns | {"place": [5]}, 1, ("c",)).reasons == (
        "view 'places' knows no line 'east', place '5'",
    )
    entities.close()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": [1.0], "machine_id": [4]}, "input 'machine_id': '4' is no text; send it as BYTES"),
        ({"a": [1.0], "machine_id": ["m1"], "x": [1.0]}, "input 'x' is no feature of the model"),
        ({"machine_id": ["m1"]}, "no input 'a', and no view that is looked up has it; send it as a tensor"),
        ({"a": [1.0], "line": ["east"]}, "no input 'b'; send it as a tensor, or machine_id: view 'machines' has it"),
        (
            {"a": [1.0], "b": [1.0], "line": ["east"], "place": [0.5]},
            "input 'place': '0.5' is no int; send it as INT64",
        ),
    ],
)
def test_what_cannot_be_looked_up_is_told(store, columns, said):
    entities = entities_of(store, "machines:b", "places")
    with pytest.raises(HttpError) as refusal:
        entities.complete(columns, 1, FEATURES)
    assert (refusal.value.status, said in str(refusal.value)) == (400, True)
    entities.close()


def test_rows_and_bounds_are_those_of_any_request(bundles, machines):
    with running(bundles[1], Limits(max_rows=2), Beside(machines)) as service:
        assert ask(service, tensor("machine_id", ["m1"], "BYTES"))[0] == 400
        assert ask(service, tensor("a", [1.0] * 3), tensor("machine_id", ["m1"] * 3, "BYTES"))[0] == 413
        status, said = ask(service, tensor("a", [1.0, 1.0]), tensor("machine_id", ["m1"], "BYTES"))
    assert (status, said) == (400, "input 'machine_id': shape [1, 1], not [2] or [2, 1]")


def test_a_store_that_is_away_is_told_and_other_rows_are_answered(bundles, machines, monkeypatch):
    def away(*_):
        raise DataError("online.db: the online features cannot be used")

    monkeypatch.setattr(SqliteOnline, "find_many", away)
    with running(bundles[1], beside=Beside(machines)) as service:
        status, answer, headers = service.ask(
            "POST", INFER, json.dumps({"inputs": [tensor("a", [1.0]), tensor("machine_id", ["m1"], "BYTES")]})
        )
        assert (status, headers["retry-after"]) == (503, "1")
        assert answer == {"error": "view 'machines': online.db: the online features cannot be used"}
        assert service.infer(GOOD)[0] == 200


def test_a_store_that_hangs_is_not_waited_for(bundles, machines, monkeypatch):
    goes_on = threading.Event()
    monkeypatch.setattr(SqliteOnline, "find_many", lambda *_: goes_on.wait(60) and {})
    try:
        with running(bundles[1], Limits(look_up_timeout_s=0.05), Beside(machines)) as service:
            named = (tensor("a", [1.0]), tensor("machine_id", ["m1"], "BYTES"))
            assert ask(service, *named) == (
                503,
                "the online features were not there after 0.05 s; try again later",
            )
            assert service.infer(GOOD)[0] == 200
            assert service.service.holder.model.in_flight == 0
    finally:
        goes_on.set()


def test_a_version_that_takes_over_while_features_are_looked_up_leaves_the_request_its_own(
    bundles, machines, monkeypatch
):
    goes_on, asks = threading.Event(), threading.Event()
    find_many = SqliteOnline.find_many

    def wait(*asked):
        asks.set()
        goes_on.wait(60)
        return find_many(*asked)

    monkeypatch.setattr(SqliteOnline, "find_many", wait)
    with running(bundles[1], Limits(look_up_timeout_s=60), Beside(machines)) as service:
        answers = []
        body = json.dumps({"inputs": [tensor("a", [1.0]), tensor("machine_id", ["m1"], "BYTES")]})
        asking = threading.Thread(target=lambda: answers.append(service.ask("POST", INFER, body)))
        asking.start()
        try:
            wait_until(asks.is_set, what="the store is asked")
            service.shelf.bundle = bundles[2]
            wait_until(lambda: service.infer(GOOD)[1]["model_version"] == "2", what="version 2 answers")
        finally:
            goes_on.set()
            asking.join()
        assert [(status, answer["model_version"]) for status, answer, _ in answers] == [(200, "1")]


def test_clients_are_told_what_is_looked_up(bundles, machines):
    with running(bundles[1], beside=Beside(machines)) as service:
        told = service.ask("GET", "/v2/models/toy")[1]
        assert "entity_lookup" in service.ask("GET", "/v2")[1]["extensions"]
        document = service.ask("GET", "/openapi.json")[1]
    assert told["parameters"]["entity_lookup"] == [
        {
            "view": "machines",
            "keys": [{"name": "machine_id", "datatype": "BYTES"}],
            "features": ["b", "c"],
            "ttl_s": 7200.0,
        }
    ]
    infer = document["paths"]["/v2/models/{name}/infer"]["post"]
    assert (
        "With machine_id as input, features that are not sent are looked up in view 'machines'."
        in (infer["description"])
    )
    assert "cannot be looked up" in infer["responses"]["503"]["description"]


def test_what_no_model_would_get_is_refused_before_it_serves(bundles, store):
    def opened(*wanted):
        return open_views(wanted, VIEWS.__getitem__, lambda view: Lookup(store, view, SystemClock()))

    with pytest.raises(ServingError, match="has no feature 'x'; it has: b, c, d"):
        opened("machines:x")
    with pytest.raises(ServingError, match="feature 'c' is looked up in view 'machines' and in 'places'"):
        entities_of(store, "machines", "places")
    entities = entities_of(store, "machines:d")
    with (
        pytest.raises(ServingError, match=r"has no feature of toy/1, which takes a, b, c"),
        running(bundles[1], beside=Beside(entities)),
    ):
        pass
    entities.close()


def test_a_feature_in_another_unit_is_refused(store, bundles):

    model = open_model(Shelf(bundles[1]).current(), 1, SystemClock())
    in_pascal = tuple(replace(feature, unit="Pa") for feature in model.manifest.features)
    entities = entities_of(store, "places:c")
    with pytest.raises(ServingError, match="feature 'c' is in bar in view 'places', toy/1 takes Pa"):
        entities.verify(replace(model.manifest, features=in_pascal))
    entities.verify(model.manifest)
    entities.close()
    model.retire()
