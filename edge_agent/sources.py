"""Opens the source that the settings name."""

import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from edge_agent.bundle import Inputs, Manifest
from edge_agent.clock import Clock
from edge_agent.errors import SettingsError, SourceError
from edge_agent.sensing.source import Source
from edge_agent.settings import STDIN, AgentSettings, SourceSettings

if TYPE_CHECKING:
    from edge_agent.raw_signal import Signal
    from edge_agent.sensing.given_windows import GivenWindows
    from edge_agent.sensing.inlet import Decode, Inlet
    from edge_agent.sensing.sink import Sink
    from edge_agent.sensing.windowed import Windowed

# What the modules of one kind of source or sink import is only paid for where it is used.
# ruff: noqa: PLC0415

SOURCE_FOLDER: Final = "source"
HTTP_PORT: Final = 8000

_Open = Callable[[Sequence[str], int], Source]


class Surroundings(Struct, frozen=True):
    """What a source or a sink needs of its agent.

    Attributes:
        name: of this agent at a local broker.
        state: its state folder.
        counted: tells the number of the first row that is not yet counted.
        scoring: tells which bundle scores now; None: none.
    """

    name: str
    state: Path
    clock: Clock
    counted: Callable[[], int]
    scoring: Callable[[], Manifest | None]


class SourceOpener:
    """Opens one device's source for what a bundle takes.

    Attributes:
        answers: where the source itself wants the answers to its rows; None: it does not.
        inlet: where the rows of a live source wait; None: it is a file.
    """

    def __init__(self, settings: SourceSettings, around: Surroundings) -> None:
        """Prepare a live source; of a file nothing is opened yet.

        Raises:
            SourceError: nobody can listen there, or accepted rows cannot be kept.
            SettingsError: the user's code is not there.
        """
        self._settings = settings
        self._around = around
        self._opened_for: Inputs | None = None
        self.answers: Sink | None = None
        self.inlet: Inlet | None = None
        self._begin: Callable[[], None] | None = None
        # What the source refused of those who bring rows, by word.
        self._count_refused: Callable[[], dict[str, int]] = dict
        # Of a source whose rows may be whole windows.
        self._open_windows: Callable[[Signal, int], Source] | None = None
        with contextlib.ExitStack() as opened:
            self._open_live = self._prepare(opened)
            self._opened = opened.pop_all()

    def start(self) -> None:
        """Let a source that answers serve, though it may have to answer that no bundle is there; called once.

        The others begin when a bundle opens them: until then rows wait where they are.
        """
        if self.answers is not None:
            self._begin_once()

    def rest(self) -> None:
        """Go on listening while one agent of this process is closed and the next one is opened."""
        counted = self._around.counted()
        self._around = msgspec.structs.replace(self._around, counted=lambda: counted, scoring=lambda: None)

    def move_to(self, around: Surroundings) -> None:
        """Serve another agent of this process."""
        self._around = around

    # What listens asks these: the agent that it serves may be another one by then.

    def _counted(self) -> int:
        return self._around.counted()

    def _scoring(self) -> Manifest | None:
        return self._around.scoring()

    def close(self) -> None:
        """End a live source."""
        self._opened.close()

    def counts(self) -> dict[str, int]:
        """Tell of a live source's rows, by word; empty for a file."""
        inlet = self.inlet
        if inlet is None:
            return {}
        return {
            "taken_in": inlet.taken_in,
            "waiting": inlet.n_waiting,
            "turned_away": inlet.turned_away,
            "unkept": inlet.unkept,
        } | self._count_refused()

    def open(self, inputs: Inputs, cursor: int) -> Source:
        """Open the source at a row number.

        Raises:
            SourceError: it cannot be read, or does not give these features.
        """
        source = self._open(inputs, cursor)
        self._opened_for = inputs
        return source

    def verify(self, inputs: Inputs) -> None:
        """Check that the source can give these features, before a bundle that needs them is put on trial.

        Raises:
            SourceError: it cannot.
        """
        if self._settings.kind == "csv":
            self._open(inputs, 0).close()
        elif self._settings.path == STDIN and self._opened_for not in {None, inputs}:
            raise SourceError(
                "standard input is being read for other features, and what was read ahead would be lost; "
                "start the agent anew, or use a file"
            )
        else:
            self._columns(inputs)
        if inputs.signal is not None:
            _window_sources()

    def _open(self, inputs: Inputs, cursor: int) -> Source:
        columns = self._columns(inputs)
        if inputs.signal is None:
            return self._open_columns(columns, cursor)
        windowed, given = _window_sources()
        if self._open_windows is None:
            return windowed(self._open_columns(columns, cursor), inputs.signal, self._around.clock)
        source = given(self._open_windows(inputs.signal, cursor), inputs.signal)
        self._begin_once()
        return source

    def _open_columns(self, columns: tuple[str, ...], cursor: int) -> Source:
        settings = self._settings
        if self._open_live is not None:
            source = self._open_live(columns, cursor)
            self._begin_once()
            return source
        path = settings.path or STDIN
        if settings.kind == "csv":
            from edge_agent.sensing.csv_replay import CsvReplay

            return CsvReplay(
                Path(path),
                columns,
                self._around.clock,
                first_row=settings.first_row,
                step=settings.step,
                end_row=settings.end_row,
                rows_per_second=settings.rows_per_second,
                cursor=cursor,
            )
        from edge_agent.sensing.json_lines import JsonLines

        marks = self._around.state / SOURCE_FOLDER / "followed.json"
        return JsonLines(path, columns, cursor=cursor, follow=settings.follow, marks=marks)

    def _columns(self, inputs: Inputs) -> tuple[str, ...]:
        columns, wanted = self._settings.columns, inputs.columns
        if columns and len(columns) != len(wanted):
            what = "features" if inputs.signal is None else "columns of a reading"
            raise SourceError(
                f"key 'source.columns' names {len(columns)} columns, the bundle takes {len(wanted)} {what}: "
                f"{', '.join(wanted[:20])}"
            )
        return columns or wanted

    def _begin_once(self) -> None:
        begin, self._begin = self._begin, None
        if begin is not None:
            begin()

    # --- live sources ------------------------------------------------------------------------------------------------

    def _prepare(self, opened: contextlib.ExitStack) -> _Open | None:
        match self._settings.kind:
            case "socket":
                return self._prepare_socket(opened)
            case "mqtt":
                return self._prepare_mqtt(opened)
            case "http":
                return self._prepare_http(opened)
            case "python":
                return self._prepare_python(opened)
            case _:
                return None

    def _prepare_socket(self, opened: contextlib.ExitStack) -> _Open:
        from edge_agent.sensing.json_rows import parse_row
        from edge_agent.sensing.socket_source import SocketServer

        inlet = self._make_inlet(parse_row, is_acknowledged=False)
        server = SocketServer(Path(self._settings.path or ""), inlet)
        self._begin = server.start
        self._count_refused = lambda: {"refused_connections": server.refused_writers}
        return self._joined(opened, inlet, server.close)

    def _prepare_mqtt(self, opened: contextlib.ExitStack) -> _Open:
        from edge_agent.local_broker import place_of
        from edge_agent.sensing.mqtt_link import MqttLink
        from edge_agent.sensing.mqtt_source import MqttRows, parse_kept

        inlet = self._make_inlet(parse_kept, is_acknowledged=True)
        place = place_of(self._settings, "source", f"{self._around.name}-rows")
        link = MqttLink(place, random.Random(), self._around.clock, self._settings.topic, MqttRows(inlet).receive)
        self._begin = link.start
        self._count_refused = lambda: {"cut_links": link.cut}
        return self._joined(opened, inlet, link.close)

    def _prepare_http(self, opened: contextlib.ExitStack) -> _Open:
        from edge_agent.sensing.http_server import HttpBounds
        from edge_agent.sensing.inference_protocol import parse_payload
        from edge_agent.sensing.inference_server import InferenceServer

        settings = self._settings
        inlet = self._make_inlet(parse_payload, is_acknowledged=True)
        server = InferenceServer(
            settings.host,
            HTTP_PORT if settings.port is None else settings.port,
            inlet,
            self._scoring,
            self._around.clock,
            bounds=HttpBounds(
                max_connections=settings.max_connections,
                max_body_bytes=settings.max_body_bytes,
                timeout_s=settings.timeout_s,
            ),
            answer_timeout_s=settings.timeout_s,
        )
        self._joined(opened, inlet, server.close)
        self.answers = server
        self._count_refused = lambda: {
            "refused_connections": server.refused_connections,
            "refused_requests": server.refused_requests,
        }
        self._begin = server.start
        self._open_windows = server.open_windows
        return server.open

    def _prepare_python(self, opened: contextlib.ExitStack) -> _Open:
        from edge_agent.sensing.json_rows import parse_packed_row
        from edge_agent.sensing.plugin import SOURCES, load_factory
        from edge_agent.sensing.python_source import PythonRows

        settings = self._settings
        factory = load_factory(SOURCES, settings.factory or "", "source.factory")
        inlet = self._make_inlet(parse_packed_row, is_acknowledged=False)
        rows = PythonRows(factory, settings.options, inlet, settings.factory or "")
        self._begin = rows.start
        self._count_refused = lambda: {"sensor_failures": rows.failures}
        return self._joined(opened, inlet, rows.close)

    def _joined(self, opened: contextlib.ExitStack, inlet: "Inlet", close: Callable[[], None]) -> _Open:
        """Have both closed, the inlet first: what is not kept any more is not acknowledged either."""
        opened.callback(close)
        opened.callback(inlet.close)
        self.inlet = inlet
        return inlet.open

    def _make_inlet(self, decode: "Decode", *, is_acknowledged: bool) -> "Inlet":
        from edge_agent.sensing.inlet import Inlet
        from edge_agent.sensing.journal import Journal

        settings, around = self._settings, self._around
        folder = around.state / SOURCE_FOLDER / settings.kind
        is_synced = is_acknowledged if settings.keep is None else settings.keep == "power"
        cursor = around.counted()
        try:
            journal = Journal(folder, cursor, self._counted, max_bytes=settings.max_kept_bytes, is_synced=is_synced)
        except OSError as error:
            raise SourceError(f"{folder}: accepted rows cannot be kept there: {error.strerror or error}") from error
        return Inlet(journal, decode, cursor, settings.max_waiting_rows)


def _window_sources() -> "tuple[type[Windowed], type[GivenWindows]]":
    """Return what makes windows of readings that come one by one, and of readings that come a window at a time."""
    try:
        # A device whose bundles take features as they come needs no numpy.
        from edge_agent.sensing.given_windows import GivenWindows
        from edge_agent.sensing.windowed import Windowed
    except ImportError as error:
        raise SourceError(f"the bundle takes windows of raw readings, which need numpy: {error}") from error
    return Windowed, GivenWindows


def problems_of_code(settings: AgentSettings) -> tuple[str, ...]:
    """List what is wrong with the user's code that the settings name: it is imported, and not started."""
    from edge_agent.sensing.plugin import SINKS, SOURCES, verify_factory

    problems: list[str] = []
    source, sink = settings.source, settings.sink
    for key, kind, group, factory in (
        ("source.factory", source.kind, SOURCES, source.factory),
        ("sink.factory", sink.kind, SINKS, sink.factory),
    ):
        if kind == "python":
            try:
                verify_factory(group, factory or "", key)
            except SettingsError as error:
                problems.append(str(error))
    return tuple(problems)
