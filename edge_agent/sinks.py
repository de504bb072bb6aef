"""Opens the sink that the settings name."""

import random
from pathlib import Path

from edge_agent.clock import SystemClock
from edge_agent.errors import SettingsError
from edge_agent.sensing.sink import NoSink, Sink, Sinks
from edge_agent.settings import SinkSettings

# What the modules of one kind of sink import is only paid for where it is used.
# ruff: noqa: PLC0415


def with_answers(sink: Sink, answers: Sink | None) -> Sink:
    """Return a sink that also gives the answers back to a source that wants them; each is closed by who opened it."""
    if answers is None:
        return sink
    return answers if isinstance(sink, NoSink) else Sinks((answers, sink))


def open_sink(settings: SinkSettings, name: str) -> Sink:
    """Open the sink.

    Args:
        settings: which.
        name: of this agent at a local broker.

    Raises:
        SettingsError: its file cannot be written, or the user's code is not there.
    """
    match settings.kind:
        case "json_lines":
            from edge_agent.sensing.json_lines_sink import JsonLinesSink

            return JsonLinesSink(
                Path(settings.path or ""), max_file_bytes=settings.max_file_bytes, kept_files=settings.kept_files
            )
        case "stdout":
            from edge_agent.sensing.outlet import Outlet
            from edge_agent.sensing.stdout_sink import StandardOutput

            return Outlet(StandardOutput(), "standard output")
        case "mqtt":
            from edge_agent.local_broker import place_of
            from edge_agent.sensing.mqtt_link import MqttLink
            from edge_agent.sensing.mqtt_sink import MqttAnswers
            from edge_agent.sensing.outlet import Outlet

            link = MqttLink(place_of(settings, "sink", f"{name}-answers"), random.Random(), SystemClock())
            return Outlet(MqttAnswers(link, settings.topic or ""), f"topic {settings.topic}")
        case "python":
            from edge_agent.sensing.outlet import Outlet
            from edge_agent.sensing.plugin import SINKS, load_factory
            from edge_agent.sensing.python_sink import PythonAnswers

            factory = load_factory(SINKS, settings.factory or "", "sink.factory")
            try:
                take = factory(settings.options)
            except Exception as error:  # code of the user
                raise SettingsError(f"key 'sink.factory': {settings.factory} failed: {error!r}") from error
            return Outlet(PythonAnswers(take), settings.factory or "")
        case _:
            return NoSink()
