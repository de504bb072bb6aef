"""Runs a real prediction service in a thread of the test: uvicorn on a free port, and a client that asks it."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from edge_agent.clock import SystemClock
from tests.waiting import wait_until
from trainer.serving.limits import Limits
from trainer.serving.origin import Offer
from trainer.serving.server import Beside, Listening, configured, listen, opened
from trainer.serving.service import Service

GOOD = (1.0, 2.0, 0.5)
INFER = "/v2/models/toy/infer"


@dataclass
class Shelf:
    """A bundle that a test may exchange; implements `trainer.serving.origin.Origin`."""

    bundle: Path
    is_fixed: bool = False
    error: Exception | None = None
    asked: int = 0

    def current(self) -> Offer:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Offer(str(self.bundle), self.bundle)


@dataclass
class Running:
    """A service that runs, and who asks it."""

    service: Service
    port: int
    shelf: Shelf
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, self.headers | dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
            told = {name.lower(): value for name, value in response.getheaders()}
            is_json = told.get("content-type", "").startswith("application/json")
            return response.status, json.loads(content) if is_json and content else content, told
        finally:
            connection.close()

    def infer(self, *rows: Any, path: str = INFER, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        status, answer, _ = self.ask("POST", path, infer_body(*rows), headers)
        return status, answer

    @contextmanager
    def a_request_that_is_not_whole(self, headers: Mapping[str, str] | None = None) -> Iterator[socket.socket]:
        """Take a place of the service: the rest of the body does not come as long as the context lasts."""
        before = self.service.places.taken
        head = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n{head}\r\n{{".encode())
            wait_until(lambda: self.service.places.taken > before, what="the request has its place")
            yield connection
        wait_until(lambda: self.service.places.taken == before, what="the place is free again")


def infer_body(*rows: Any, **more: Any) -> str:
    data = [value for row in rows or (GOOD,) for value in row]
    shape = [len(rows or (GOOD,)), len((rows or (GOOD,))[0])]
    return json.dumps({"inputs": [{"name": "rows", "shape": shape, "datatype": "FP32", "data": data}]} | more)


@contextmanager
def running(
    bundle: Path, limits: Limits | None = None, beside: Beside | None = None, **listening: Any
) -> Iterator[Running]:
    """Run a service until the context ends; its file of keys and what it looks at may change meanwhile."""
    shelf = Shelf(bundle)
    where = Listening(**({"port": 0, "every_s": 0.02} | listening))
    with opened(shelf, where, limits or Limits(), SystemClock(), beside) as (service, app):
        server = uvicorn.Server(configured(app, where))
        with listen(where) as listener:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                wait_until(lambda: server.started or not thread.is_alive(), what="the service listens")
                yield Running(service, listener.getsockname()[1], shelf)
            finally:
                server.should_exit = True
                thread.join()
