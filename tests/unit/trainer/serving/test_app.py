"""The Open Inference Protocol by HTTP: what is answered, and what is refused with which code."""

import asyncio
import http.client
import json
import socket

import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.sensing.inference_protocol import LENGTH_HEADER
from tests.bundles import FEATURES
from tests.serving import GOOD, INFER, Shelf, infer_body, running
from trainer.serving.app import make_app
from trainer.serving.limits import Limits
from trainer.serving.model import open_model


@pytest.fixture(scope="module")
def toy(bundles):
    with running(bundles[1], Limits(max_body_bytes=4096, max_rows=8, body_timeout_s=0.3)) as service:
        yield service


def test_a_model_tells_what_it_takes_and_answers(toy):
    assert toy.ask("GET", "/v2/health/live")[:2] == (200, {"live": True})
    assert toy.ask("GET", "/v2/health/ready")[:2] == (200, {"ready": True})
    assert toy.ask("GET", "/v2")[1]["extensions"] == ["binary_tensor_data"]
    status, told, _ = toy.ask("GET", "/v2/models/toy")
    assert (status, told["versions"]) == (200, ["1"])
    assert told["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, len(FEATURES)]}]
    assert toy.ask("GET", "/v2/models/toy/versions/1")[1] == told
    assert toy.ask("GET", "/v2/models/toy/versions/1/ready")[:2] == (200, {"name": "toy", "ready": True})
    assert toy.ask("GET", "/v2/models/toy/versions/2/ready")[:2] == (400, {"name": "toy", "ready": False})


def test_rows_are_answered_as_a_device_answers_them(toy, bundles):
    model = open_model(Shelf(bundles[1]).current(), 1, SystemClock())
    rows = np.random.default_rng(3).normal(size=(8, len(FEATURES))).tolist()
    expected = [model.inline.score(row) for row in rows]
    status, answer = toy.infer(*rows)
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert (status, answer["model_name"], answer["model_version"]) == (200, "toy", "1")
    assert outputs["label"] == [each.label for each in expected]
    np.testing.assert_allclose(outputs["confidence"], [each.confidence for each in expected], rtol=1e-6)
    model.retire()


def test_one_row_and_many_in_another_thread_have_the_same_answer(toy):
    alone = toy.infer(GOOD)[1]["outputs"][:3]
    toy.service.holder.model.row_s, before = 1.0, toy.service.holder.model.row_s
    in_thread = toy.infer(GOOD)[1]["outputs"][:3]
    toy.service.holder.model.row_s = before
    assert in_thread == alone


def test_no_two_predictions_have_the_same_id(toy):
    ids = [
        id_
        for _ in range(3)
        for output in toy.infer(GOOD, GOOD)[1]["outputs"]
        if output["name"] == "prediction_id"
        for id_ in output["data"]
    ]
    assert len(set(ids)) == 6


def test_a_refused_row_is_told_beside_the_others_and_a_request_of_none_but_refused_ones_fails(toy):
    status, answer = toy.infer(GOOD, (1.0, None, 1.0))
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert (status, outputs["refused"][0]) == (200, "")
    assert outputs["refused"][1] == "missing: feature 'b' has no value"
    assert toy.infer((1.0, None, 1.0)) == (400, {"error": "missing: feature 'b' has no value"})


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "said"),
    [
        ("POST", INFER, "{}", {}, 400, "not a request"),
        ("POST", INFER, "", {}, 400, "not a request"),
        ("POST", INFER, infer_body((1.0, 2.0)), {}, 400, "a row has 3 values"),
        ("POST", INFER, infer_body(*[GOOD] * 9), {}, 413, "at most 24 are taken at once"),
        ("POST", INFER, " " * 5000, {}, 413, "more than 4096 bytes"),
        ("POST", INFER, infer_body(), {"Content-Encoding": "gzip"}, 415, "compressed"),
        ("POST", INFER, infer_body(), {LENGTH_HEADER: "9999"}, 400, LENGTH_HEADER),
        ("POST", "/v2/models/other/infer", infer_body(), {}, 404, "there is toy version 1"),
        ("POST", "/v2/models/toy/versions/7/infer", infer_body(), {}, 404, "there is toy version 1"),
        ("GET", "/v2/models/other", None, {}, 404, "there is toy version 1"),
        ("GET", INFER, None, {}, 405, "rows are posted"),
        ("PUT", "/v2", "", {}, 405, "Method Not Allowed"),
        ("GET", "/nothing", None, {}, 404, "Not Found"),
    ],
)
def test_what_gets_no_answer_is_told_why(toy, method, path, body, headers, status, said):
    found, answer, _ = toy.ask(method, path, body, headers)
    assert (found, set(answer)) == (status, {"error"})
    assert said in answer["error"]
    assert toy.infer(GOOD)[0] == 200


def test_a_body_in_chunks_is_read_up_to_the_same_bound(toy):
    def ask(chunks):
        connection = http.client.HTTPConnection("127.0.0.1", toy.port, timeout=30)
        connection.request("POST", INFER, iter(chunks), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    body = infer_body().encode()
    assert ask([body[:9], body[9:]])[0] == 200
    status, answer = ask([b" " * 1000] * 5)
    assert (status, answer) == (413, {"error": "a body of more than 4096 bytes is not read: send fewer rows at once"})


@pytest.mark.parametrize(("n_chunks", "expected"), [(4, (400, b"")), (5, (413, b"is not read"))])
def test_a_body_that_comes_bit_by_bit_is_counted_bit_by_bit(toy, n_chunks, expected):
    """The service takes each bit before the next is there."""

    async def ask():
        came, told = iter([b" " * 1000] * n_chunks), []

        async def receive():
            body = next(came, b"")
            return {"type": "http.request", "body": body, "more_body": bool(body)}

        async def send(message):
            told.append(message)

        scope = {"type": "http", "method": "POST", "path": INFER, "headers": []}
        await make_app(toy.service)(scope, receive, send)
        return told[0]["status"], told[1]["body"]

    status, body = asyncio.run(ask())
    assert (status, expected[1] in body) == (expected[0], True)


def test_a_body_that_does_not_come_is_not_waited_for(toy):
    with toy.a_request_that_is_not_whole() as connection:
        assert b"408" in connection.recv(4096)


def test_a_client_that_goes_in_the_middle_of_its_request_leaves_nothing_behind(toy):
    with toy.a_request_that_is_not_whole() as connection:
        connection.shutdown(socket.SHUT_WR)
    assert toy.service.places.taken == 0
    assert toy.infer(GOOD)[0] == 200


def test_what_nobody_foresaw_is_told_without_how_it_came(toy, monkeypatch, caplog):
    def fail(_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(toy.service.holder.model.inline, "score", fail)
    status, answer = toy.infer(GOOD)
    assert (status, answer) == (500, {"error": "the service failed on this request; its log says why"})
    assert "secret detail" in caplog.text


def test_what_nobody_foresaw_on_another_page_is_told_the_same_way(toy, monkeypatch):
    monkeypatch.setattr(type(toy.service), "about", lambda _: 1 / 0)
    status, answer, _ = toy.ask("GET", "/v2")
    assert (status, answer) == (500, {"error": "the service failed on this request; its log says why"})


def test_an_answer_that_is_no_number_is_a_refusal(bundles):
    with running(bundles["gaps"]) as service:
        status, answer = service.infer((None, 1.0, 1.0))
    assert (status, "which is not finite" in answer["error"]) == (400, True)


def test_the_document_of_the_interface_is_served(toy):
    document = toy.ask("GET", "/openapi.json")[1]
    assert set(document["paths"]) >= {"/v2", "/metrics", "/v2/models/{name}/versions/{version}/infer"}
    assert "4096 bytes or 8 rows" in json.dumps(document)


def test_figures_tell_requests_rows_and_the_version_that_answers(bundles):
    with running(bundles[1]) as service:
        service.infer(GOOD, (1.0, None, 1.0))
        service.infer((1.0, 2.0))
        figures = service.ask("GET", "/metrics")[1].decode().splitlines()
    assert 'fieldloop_serving_requests_total{key="",model="toy",status="200",version="1"} 1.0' in figures
    assert 'fieldloop_serving_requests_total{key="",model="toy",status="400",version="1"} 1.0' in figures
    assert 'fieldloop_serving_rows_total{model="toy",outcome="scored",version="1"} 1.0' in figures
    assert 'fieldloop_serving_rows_total{model="toy",outcome="refused",version="1"} 1.0' in figures
    assert 'fieldloop_serving_model{model="toy",variant="onnx-fp32",version="1"} 1.0' in figures
    assert 'fieldloop_serving_request_seconds_count{model="toy"} 2.0' in figures
