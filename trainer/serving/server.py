"""Runs a service: listens, says where, answers until it is told to end, and then answers what it has begun."""

import contextlib
import logging
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import uvicorn
from msgspec import Struct

from edge_agent.bundle import Manifest
from edge_agent.clock import Clock
from trainer.serving.app import make_app
from trainer.serving.asgi import App
from trainer.serving.entities import EntityFeatures
from trainer.serving.errors import ServingError
from trainer.serving.feedback.reporting import Reporting
from trainer.serving.holder import Holder
from trainer.serving.inference import PredictionIds
from trainer.serving.keys import ApiKeys, load_keys
from trainer.serving.limits import Limits
from trainer.serving.metrics import Metrics
from trainer.serving.model import open_model
from trainer.serving.origin import Origin
from trainer.serving.service import Service
from trainer.serving.topics.stream import TopicStream

logger = logging.getLogger(__name__)

_BACKLOG: Final = 2048


class Listening(Struct, frozen=True):
    """Where a service listens, and how it runs.

    Attributes:
        host: address, or name of one.
        port: 0 takes a free one.
        is_open: whether everybody may ask, also from other machines.
        keys: file of API keys; None: nobody is asked for one.
        every_s: seconds between two looks at the registry.
        n_workers: threads that score.
        ending_s: longest wait for what is being answered when it is told to end.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    is_open: bool = False
    keys: Path | None = None
    every_s: float = 2.0
    n_workers: int = 2
    ending_s: int = 30


@dataclass(frozen=True, slots=True)
class Beside:
    """What a service does beside answering; each is closed by who opened it.

    Attributes:
        entities: looks up features of rows that name an entity.
        reporting: tells the fleet's broker what was scored.
        topics: answers rows of a topic.
    """

    entities: EntityFeatures | None = None
    reporting: Reporting | None = None
    topics: TopicStream | None = None

    def verify(self, manifest: Manifest) -> None:
        """Raise ServingError where a model cannot be served this way."""
        if self.entities is not None:
            self.entities.verify(manifest)
        if self.topics is not None and manifest.inputs.signal is not None:
            raise ServingError(f"{manifest.ref} takes windows of raw readings; a message of a topic is one row")


def run_service(
    origin: Origin,
    listening: Listening,
    limits: Limits,
    clock: Clock,
    tell: Callable[[str, str], None],
    beside: Beside | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        origin: says which model is served.
        listening: says where.
        limits: on what clients can make it hold.
        clock: of this machine.
        tell: is told the model and the address as soon as it listens.
        beside: what it does beside answering.

    Raises:
        ServingError: it may not listen there, or cannot.
        TrainerError: there is no such model.
        AgentError: its bundle cannot be opened, or is not what it was.
    """
    with closing(listen(listening)) as listener, opened(origin, listening, limits, clock, beside) as (service, app):
        host, port = listener.getsockname()[:2]
        tell(str(service.holder.model.manifest.ref), f"http://{f'[{host}]' if ':' in host else host}:{port}")
        # Uvicorn ends in good order on both, and then raises them again for whoever was there before it.
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        uvicorn.Server(configured(app, listening)).run(sockets=[listener])


@contextmanager
def opened(
    origin: Origin, listening: Listening, limits: Limits, clock: Clock, beside: Beside | None = None
) -> Iterator[tuple[Service, App]]:
    """Open a service and its application, which nobody runs yet; raise as `run_service` does."""
    keys, beside = _keys_of(listening), beside or Beside()
    metrics = Metrics()
    model = open_model(origin.current(), listening.n_workers, clock)
    beside.verify(model.manifest)
    metrics.tell_model(model)
    reporting = beside.reporting
    holder = Holder(model, origin, listening.n_workers, clock, metrics, reporting)
    ids = PredictionIds(secrets.token_hex(4) if reporting is None else reporting.prediction_prefix)
    with contextlib.ExitStack() as running:
        threads = running.enter_context(ThreadPoolExecutor(listening.n_workers, "scoring"))
        service = Service(holder, keys, limits, metrics, ids, clock, threads, beside.entities, reporting)
        if reporting is not None:
            reporting.score_by(service.score_indexed)
            reporting.start(model.manifest, model.variant.name)
            running.callback(reporting.stop)
        every_s = listening.every_s if listening.keys is not None or not origin.is_fixed else 0.0
        yield service, make_app(service, every_s, lambda: _reread(service, listening.keys), beside.topics)


def configured(app: App, listening: Listening) -> uvicorn.Config:
    """Return how uvicorn runs an application of ours."""
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=listening.ending_s,
    )


def _keys_of(listening: Listening) -> ApiKeys:
    if listening.keys is not None:
        return load_keys(listening.keys)
    if not listening.is_open and not _is_loopback(listening.host):
        raise ServingError(
            f"--host {listening.host}: everybody who reaches it could ask. Give --keys FILE (--add-key NAME makes "
            "one), or say --open if that is what you want"
        )
    return ApiKeys({})


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(listening: Listening) -> socket.socket:
    """Listen where it is said.

    Raises:
        ServingError: nobody can.
    """
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    try:
        listener = socket.create_server((listening.host, listening.port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        where = f"{listening.host}:{listening.port}"
        raise ServingError(
            f"{where}: cannot listen there: {error}; choose another --port, or 0 for a free one"
        ) from error
    # What is accepted inherits it. Asyncio sets it for sockets alone that it made itself, and without it the second of
    # an answer's two writes waits 40 ms for a delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _reread(service: Service, keys: Path | None) -> None:
    """Take the keys of the file as it is now: one that was removed is invalid from here on."""
    if keys is None:
        return
    try:
        service.keys = load_keys(keys)
    except ServingError as error:
        logger.warning("the API keys stay as they were: %s", error)
