"""The Open Inference Protocol: each row gets the answer of the bundle that scores, or is told why it gets none."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.bundle import Feature
from edge_agent.clock import SystemClock
from edge_agent.errors import RowError
from edge_agent.scoring.scorer import Scorer
from edge_agent.sensing.http_server import HttpBounds
from edge_agent.sensing.inference_protocol import LENGTH_HEADER, parse_payload
from edge_agent.sensing.inference_server import InferenceServer
from edge_agent.sensing.inlet import Inlet
from edge_agent.sensing.journal import Journal
from tests.unit.edge_agent.examples import classification_manifest, softmax
from tests.unit.edge_agent.test_agent import PlainRuntime

GOOD = [1.0, 2.0]
FEATURES = (
    Feature("temperature", unit="degC", valid_min=-40.0, valid_max=60.0, on_missing="flag"),
    Feature("wind", unit="m/s", valid_min=0.0, valid_max=80.0, on_missing="refuse", on_out_of_range="refuse"),
)
INFER = "/v2/models/rain/infer"


class Agent:
    """An endpoint, and a scoring loop of its own that can be held up."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.manifest = classification_manifest(features=FEATURES)
        journal = Journal(folder, 0, lambda: 0, max_bytes=1 << 20, is_synced=False)
        self.inlet = Inlet(journal, parse_payload, 0, 8)
        self.server = InferenceServer(
            "127.0.0.1",
            0,
            self.inlet,
            lambda: self.manifest if self.is_scoring else None,
            SystemClock(),
            bounds=HttpBounds(max_body_bytes=4096),
            **({"answer_timeout_s": 10.0} | changes),
        )
        self.server.start()
        self.is_scoring = False
        self.may_score = threading.Event()
        self.may_score.set()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def score(self) -> None:
        self.is_scoring = True
        self.source = self.server.open([feature.name for feature in self.manifest.features], 0)
        self.thread.start()

    def close(self) -> None:
        self.over.set()
        self.may_score.set()
        self.server.close()
        if self.thread.is_alive():
            self.thread.join()

    def ask(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def infer(self, *rows: list[Any], path: str = INFER, **more: Any) -> tuple[int, Any]:
        return self.ask("POST", path, json.dumps({"inputs": [tensor(*rows)]} | more))

    def _run(self) -> None:
        scorer = Scorer(self.manifest, PlainRuntime())
        while not self.over.is_set():
            self.may_score.wait()
            row = self.source.next_row(0.05)
            if row is None:
                continue
            try:
                prediction = scorer.score(row.values)
            except RowError as error:
                self.server.refuse(row.number, error)
            else:
                self.server.write(f"s.{row.number}", row.number, 1.7e9, self.manifest.ref, prediction)


def tensor(*rows: list[Any], **changes: Any) -> dict[str, Any]:
    return {"name": "rows", "datatype": "FP32", "shape": [len(rows), 2], "data": list(rows)} | changes


def outputs_of(answer: dict[str, Any]) -> dict[str, Any]:
    return {output["name"]: output["data"] for output in answer["outputs"]}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    made.score()
    yield made
    made.close()


def test_rows_are_answered_in_their_order_with_all_that_the_model_says(agent: Agent):
    status, answer = agent.infer([1.0, 2.0], [-3.0, 1.0], id="r-7")
    assert status == 200
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("rain", "3", "r-7")
    outputs = outputs_of(answer)
    assert outputs["label"] == ["rain", "dry"]
    assert outputs["prediction_id"] == ["s.0", "s.1"]
    assert outputs["probabilities"] == [*softmax([1.0, 2.0]), *softmax([-3.0, 1.0])]
    assert outputs["confidence"] == [max(softmax([1.0, 2.0])), max(softmax([-3.0, 1.0]))]


def test_a_refused_row_among_good_ones_is_told_in_its_place(agent: Agent):
    status, answer = agent.infer([1.0, 2.0], [1.0, 999.0])
    assert status == 200
    outputs = outputs_of(answer)
    assert outputs["label"] == ["rain", ""]
    assert outputs["confidence"][1] is None
    assert "out_of_range" in outputs["refused"][1]
    assert outputs["refused"][0] == ""


def test_where_every_row_is_refused_the_request_is(agent: Agent):
    status, answer = agent.infer([1.0, None])
    assert (status, answer) == (400, {"error": "missing: feature 'wind' has no value"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not a request"),
        (b"{", "not a request"),
        (b"[" * 4000, "not a request"),
        (b"\xff\xfe", "not a request"),
        (b'{"inputs": 3}', "not a request"),
        (b'{"inputs": []}', "no input 'temperature'"),
        (
            b'{"inputs": [{"name": "rows", "datatype": "FP32", "shape": [1, 2], "data": [1, NaN]}]}',
            "NaN is written null",
        ),
        (b'{"inputs": [{"name": "rows", "datatype": "FP32", "shape": [1.5, 2], "data": [1, 2]}]}', "not a request"),
        (json.dumps({"inputs": [tensor(GOOD, datatype="FP8")]}).encode(), "datatype 'FP8'"),
        (json.dumps({"inputs": [tensor(GOOD, shape=[2])]}).encode(), "a row has 2 values"),
        (json.dumps({"inputs": [tensor(GOOD, shape=[1, 3])]}).encode(), "2 values"),
        (json.dumps({"inputs": [tensor(GOOD, shape=[0, 2], data=[])]}).encode(), "0 rows"),
        (json.dumps({"inputs": [tensor(GOOD, name="lines")]}).encode(), "no input 'temperature'"),
        (json.dumps({"inputs": [tensor(GOOD), tensor(GOOD)]}).encode(), "twice"),
        (json.dumps({"inputs": [tensor(GOOD, data=None)]}).encode(), "input 'rows'"),
        (json.dumps({"inputs": [tensor(GOOD, parameters={"binary_data_size": 8})]}).encode(), "either data or"),
        (json.dumps({"inputs": [tensor(GOOD)], "outputs": [{"name": "rain"}]}).encode(), "no output 'rain'"),
        (json.dumps({"inputs": [tensor(GOOD)]}).encode() + b"\0\0", "not a request"),
    ],
)
def test_a_request_that_is_none_is_refused_with_what_is_wrong(agent: Agent, body: bytes, said: str):
    status, answer = agent.ask("POST", INFER, body)
    assert status == 400
    assert said in answer["error"]
    assert agent.inlet.taken_in == 0
    assert agent.infer(GOOD)[0] == 200


def test_a_request_of_too_many_rows_is_told_that_it_is_too_large(agent: Agent):
    status, answer = agent.ask("POST", INFER, json.dumps({"inputs": [tensor(GOOD, shape=[9, 2], data=[1] * 18)]}))
    assert (status, "at most 16 are taken at once" in answer["error"]) == (413, True)
    assert agent.inlet.taken_in == 0


@pytest.mark.parametrize(
    ("length", "size", "data"),
    [("x", 8, b"\0" * 8), ("-1", 8, b"\0" * 8), ("99999", 8, b"\0" * 8), ("", 8, b""), (None, 9, b"\0" * 8)],
)
def test_bytes_that_do_not_fit_their_lengths_are_refused(agent: Agent, length: str | None, size: int, data: bytes):
    described = tensor(GOOD, parameters={"binary_data_size": size})
    del described["data"]
    head = json.dumps({"inputs": [described]}).encode()
    status, answer = agent.ask(
        "POST", INFER, head + data, **{LENGTH_HEADER: str(len(head)) if length is None else length}
    )
    assert status == 400, answer
    assert agent.inlet.taken_in == 0


def test_columns_are_rows_too_and_each_must_be_there(agent: Agent):
    columns = [
        {"name": "wind", "datatype": "INT32", "shape": [2, 1], "data": [2, 1]},
        {"name": "temperature", "datatype": "FP64", "shape": [2], "data": [1.0, -3.0]},
    ]
    status, answer = agent.ask("POST", INFER, json.dumps({"inputs": columns}))
    assert status == 200
    assert outputs_of(answer)["label"] == ["rain", "dry"]
    for wrong, said in (
        (columns[:1], "no input 'temperature'"),
        ([*columns, {"name": "sun", "datatype": "INT32", "shape": [2], "data": [1, 1]}], "'sun' is no feature"),
        ([columns[0], columns[1] | {"shape": [1], "data": [1.0]}], "shape"),
    ):
        status, answer = agent.ask("POST", INFER, json.dumps({"inputs": wrong}))
        assert status == 400
        assert said in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/rain/weights", 404),
        ("GET", "/v2/models/snow", 404),
        ("GET", "/v2/models/rain/versions/9", 404),
        ("GET", "/v2/models/rain/versions/9/ready", 400),
        ("GET", "/v2/models/rain/versions/3/ready", 200),
        ("GET", "/v2/models/rain/versions/3", 200),
        ("GET", INFER, 405),
        ("POST", "/v2/health/live", 405),
        ("GET", "/v2/models/%72ain/ready?x=1", 200),
    ],
)
def test_each_path_has_its_answer(agent: Agent, method: str, path: str, status: int):
    assert agent.ask(method, path)[0] == status


def test_a_version_that_does_not_score_is_not_asked(agent: Agent):
    assert agent.infer(GOOD, path="/v2/models/rain/versions/2/infer")[0] == 404
    assert agent.infer(GOOD, path="/v2/models/rain/versions/3/infer")[0] == 200


def test_over_the_bound_of_rows_requests_are_turned_away_and_counted_and_the_others_answered(agent: Agent):
    agent.may_score.clear()
    answered: list[int] = []
    threads = [threading.Thread(target=lambda: answered.append(agent.infer(*[GOOD] * 4)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    # Of sixteen rows nine cannot wait: one may be in the loop's hands already.
    while len(answered) + agent.inlet.taken_in // 4 < 4:
        agent.over.wait(0.01)
    agent.may_score.set()
    for thread in threads:
        thread.join()
    assert set(answered) == {200, 503}
    assert agent.inlet.turned_away == 4 * answered.count(503)


def test_without_an_answer_in_time_the_row_is_kept_and_that_is_told(tmp_path: Path):
    agent = Agent(tmp_path, answer_timeout_s=0.05)
    agent.may_score.clear()
    agent.score()
    status, answer = agent.infer(GOOD)
    assert status == 504
    assert "rows 0 to 0 are kept" in answer["error"]
    assert agent.server._pending == {}
    agent.close()
    journal = Journal(tmp_path, 0, lambda: 0, max_bytes=1 << 20, is_synced=False)
    (kept,) = [parse_payload(payload, ("temperature", "wind")) for _, payload in journal.replay(0)]
    assert kept == GOOD


def test_who_still_waits_when_the_agent_ends_is_told(tmp_path: Path):
    agent = Agent(tmp_path)
    agent.may_score.clear()
    agent.score()
    told: list[tuple[int, Any]] = []
    asking = threading.Thread(target=lambda: told.append(agent.infer(GOOD)))
    asking.start()
    while not agent.inlet.taken_in:
        agent.over.wait(0.01)
    agent.over.set()
    agent.server.close()
    asking.join()
    agent.close()
    assert told[0][0] == 503


def test_compressed_bodies_are_refused(agent: Agent):
    assert agent.ask("POST", INFER, b"x", Content_Encoding="gzip")[0] == 415


def test_a_row_of_a_bundle_with_other_features_is_refused_by_the_one_that_took_over():
    from edge_agent.scoring.schema import Unreadable
    from edge_agent.sensing.inference_protocol import parse_inference

    inference = parse_inference(json.dumps({"inputs": [tensor(GOOD)]}).encode(), None, ("temperature", "wind"), 8)
    assert parse_payload(inference.payloads[0], ("wind", "temperature")) == [2.0, 1.0]
    assert isinstance(parse_payload(inference.payloads[0], ("wind", "sun")), Unreadable)
