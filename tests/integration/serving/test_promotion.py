"""A promotion is followed while clients ask: not one request fails, and each answer is one version's own."""

import http.client
import json
import signal
import threading
from collections import Counter

import pytest

from edge_agent.clock import SystemClock
from tests.integration.serving.conftest import client_of, serving
from tests.serving import GOOD, INFER, Shelf, infer_body
from tests.waiting import wait_until
from trainer.serving.model import open_model

PROMOTIONS = 10
CLIENTS = 4


class Client(threading.Thread):
    """Asks again and again over one connection, and keeps what it was answered."""

    def __init__(self, port: int, over: threading.Event) -> None:
        super().__init__()
        self.answers: Counter[tuple[int, str, float]] = Counter()
        self.failure: Exception | None = None
        self._port = port
        self._over = over

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        body = infer_body(GOOD)
        try:
            while not self._over.is_set():
                connection.request("POST", INFER, body)
                response = connection.getresponse()
                answer = json.loads(response.read())
                outputs = {each["name"]: each["data"] for each in answer.get("outputs", [])}
                self.answers[response.status, answer.get("model_version"), outputs.get("confidence", [0.0])[0]] += 1
        except Exception as error:  # noqa: BLE001 - the test tells it
            self.failure = error
        finally:
            connection.close()


@pytest.mark.slow
def test_promotions_back_and_forth_under_load_fail_no_request(shop):
    # What other tests have left as the champion is not to be what the first promotion leads to.
    shop.registry.promote("toy", 1)
    expected = {}
    for version in shop.registry.versions("toy"):
        model = open_model(Shelf(version.bundle).current(), 1, SystemClock())
        expected[200, str(version.version), model.inline.score(GOOD).confidence] = version.version
        model.retire()
    over = threading.Event()
    with serving("toy@champion", "--project", shop.folder, "--look-every", "0.1") as (process, port):
        clients = [Client(port, over) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            for number in range(PROMOTIONS):
                wanted = 2 - number % 2
                shop.registry.promote("toy", wanted)
                _wait_until_answered_by(port, wanted)
        finally:
            over.set()
            for client in clients:
                client.join()
        figures = client_of(port).ask("GET", "/metrics")[1].decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert [client.failure for client in clients] == [None] * CLIENTS
    answers = sum((client.answers for client in clients), Counter())
    # Nothing but what one of the two versions answers, and both of them did.
    assert set(answers) == set(expected)
    assert f'fieldloop_serving_swaps_total{{outcome="done"}} {PROMOTIONS}.0' in figures


@pytest.mark.slow
def test_a_request_that_is_being_answered_has_its_answer_before_the_end(shop):
    with serving("toy/2", "--project", shop.folder) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = infer_body(GOOD).encode()
        connection.putrequest("POST", INFER)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:9])
        wait_until(lambda: b"in_flight 1.0" in client_of(port).ask("GET", "/metrics")[1], what="it is there")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not _takes_connections(port), what="no other connection is taken")
        connection.send(body[9:])
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["model_version"]) == (200, "2")
        connection.close()
        assert process.wait(30) == 0


def _wait_until_answered_by(port: int, version: int) -> None:
    def is_it() -> bool:
        return client_of(port).infer(GOOD)[1]["model_version"] == str(version)

    wait_until(is_it, 60, f"version {version} answers")


def _takes_connections(port: int) -> bool:
    try:
        client_of(port).ask("GET", "/v2/health/live")
    except OSError:
        return False
    return True
