"""What ``fieldloop serve`` does beside answering requests: its options become parts, which are closed at the end."""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from broker.client import Endpoint
    from edge_agent.clock import Clock
    from edge_agent.sensing.mqtt_link import MqttPlace
    from trainer.serving.feedback.reporting import Reporting
    from trainer.serving.server import Beside
    from trainer.serving.topics.stream import TopicStream

_FOLDER = "serving"


@dataclass(frozen=True)
class BesideOptions:
    """The options, as they were given.

    Attributes:
        what: that is served.
        look_up, store, online: of entities.
        broker, ca, cert, key: of both brokers' links.
        report_as, fleet, report_every_s: of what is reported.
        from_topic, to_topic, topic_client: of topics.
    """

    what: str
    project: Path
    look_up: Sequence[str]
    store: str | None
    online: str | None
    broker: str
    ca: Path | None
    cert: Path | None
    key: Path | None
    report_as: str | None
    fleet: str | None
    report_every_s: float
    from_topic: str | None
    to_topic: str | None
    topic_client: str | None


@contextmanager
def opened_beside(options: BesideOptions, clock: "Clock") -> "Iterator[Beside]":
    """Open what the options name; close it at the end.

    Raises:
        TrainerError, AgentError, LinkError: a part cannot be opened; the message says which and why.
    """
    from trainer.cli.feature_places import open_entities
    from trainer.serving.server import Beside

    if (options.from_topic is None) != (options.to_topic is None):
        raise typer.BadParameter("--from-topic and --to-topic belong together: give both or none")
    with contextlib.ExitStack() as opened:
        entities = reporting = topics = None
        if options.look_up:
            entities = open_entities(options.look_up, options.project, options.store, options.online, clock)
            opened.callback(entities.close)
        if options.report_as is not None:
            reporting = _reporting(options, options.report_as, clock)
            opened.callback(reporting.close)
        if options.from_topic is not None and options.to_topic is not None:
            topics = _topics(options, options.from_topic, options.to_topic, clock)
            opened.callback(topics.close)
        yield Beside(entities, reporting, topics)


def _reporting(options: BesideOptions, name: str, clock: "Clock") -> "Reporting":
    from broker.topics import TopicError, parse_device, parse_fleet
    from edge_agent.settings import TelemetrySettings
    from trainer.cli.feature_places import state_folder
    from trainer.cli.link import tls_files
    from trainer.serving.feedback.about import Identity, Tls
    from trainer.serving.feedback.reporting import Reporting

    files = tls_files(options.ca, options.cert, options.key)
    tls = None if files is None else Tls(files.ca, files.certificate, files.key)
    try:
        device, fleet = parse_device(name), parse_fleet(options.fleet or _fleet_of(options.project))
    except TopicError as error:
        raise typer.BadParameter(str(error), param_hint="--report-as") from error
    state = state_folder(options.project) / _FOLDER / device
    identity = Identity(_endpoint(options.broker), fleet, device, state, options.what, tls)
    # A link of a server is not counted by the byte: windows go at once.
    telemetry = TelemetrySettings(max_window_s=options.report_every_s, windows_together=1)
    return Reporting(identity, telemetry, clock)


def _topics(options: BesideOptions, rows: str, answers: str, clock: "Clock") -> "TopicStream":
    from trainer.cli.feature_places import state_folder
    from trainer.serving.topics.stream import Topics, TopicStream

    place = _place(options, rows)
    ledger = state_folder(options.project) / _FOLDER / "topics" / f"{_file_name(place.client_id)}.db"
    return TopicStream(Topics(place, rows, answers, ledger), clock)


def _place(options: BesideOptions, rows: str) -> "MqttPlace":
    import os
    import zlib

    from broker.tls import open_tls
    from edge_agent.sensing.mqtt_link import MqttPlace

    endpoint = _endpoint(options.broker)
    tls = None if options.ca is None else open_tls(options.ca, options.cert, options.key)
    # The same at each start: the broker keeps what comes meanwhile for whoever has this name.
    client = options.topic_client or f"fieldloop-serve-{zlib.crc32(rows.encode()):08x}"
    user, password = (os.environ.get(f"FIELDLOOP_TOPIC_{name}") for name in ("USER", "PASSWORD"))
    return MqttPlace(endpoint.host, endpoint.port, client, user, password, tls)


def _file_name(client_id: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else f"%{ord(letter):x}" for letter in client_id)


def _endpoint(text: str) -> "Endpoint":
    from trainer.cli.fleet import parse_endpoint

    return parse_endpoint(text)


def _fleet_of(project: Path) -> str:
    from trainer.errors import ProjectError
    from trainer.project.loading import load_project

    try:
        return load_project(project).project.fleet
    except ProjectError as error:
        raise typer.BadParameter(f"no project says which fleet: give --fleet NAME ({error})") from error
