"""Opens the source and the sink that the settings name."""

from pathlib import Path

from edge_agent.bundle import Inputs
from edge_agent.clock import Clock
from edge_agent.errors import SourceError
from edge_agent.sensing.csv_replay import CsvReplay
from edge_agent.sensing.json_lines import JsonLines
from edge_agent.sensing.json_lines_sink import JsonLinesSink
from edge_agent.sensing.sink import NoSink, Sink
from edge_agent.sensing.source import Source
from edge_agent.settings import STDIN, SinkSettings, SourceSettings


class SourceOpener:
    """Opens one device's source for what a bundle takes."""

    def __init__(self, settings: SourceSettings, clock: Clock) -> None:
        """Keep the settings; nothing is opened yet."""
        self._settings = settings
        self._clock = clock
        self._opened_for: Inputs | None = None

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

    def _open(self, inputs: Inputs, cursor: int) -> Source:
        columns = self._columns(inputs)
        if inputs.signal is None:
            return self._open_columns(columns, cursor)
        try:
            # Only here: a device whose bundles take features as they come needs no numpy.
            from edge_agent.sensing.windowed import Windowed  # noqa: PLC0415
        except ImportError as error:
            raise SourceError(f"the bundle takes windows of raw readings, which need numpy: {error}") from error
        return Windowed(self._open_columns(columns, cursor), inputs.signal, self._clock)

    def _open_columns(self, columns: tuple[str, ...], cursor: int) -> Source:
        settings = self._settings
        if settings.kind == "csv":
            return CsvReplay(
                Path(settings.path),
                columns,
                self._clock,
                first_row=settings.first_row,
                step=settings.step,
                end_row=settings.end_row,
                rows_per_second=settings.rows_per_second,
                cursor=cursor,
            )
        return JsonLines(settings.path, columns, cursor=cursor, follow=settings.follow)

    def _columns(self, inputs: Inputs) -> tuple[str, ...]:
        columns, wanted = self._settings.columns, inputs.columns
        if columns and len(columns) != len(wanted):
            what = "features" if inputs.signal is None else "columns of a reading"
            raise SourceError(
                f"key 'source.columns' names {len(columns)} columns, the bundle takes {len(wanted)} {what}: "
                f"{', '.join(wanted[:20])}"
            )
        return columns or wanted


def open_sink(settings: SinkSettings) -> Sink:
    """Open the sink.

    Raises:
        SettingsError: its file cannot be written.
    """
    if settings.kind == "json_lines" and settings.path is not None:
        return JsonLinesSink(Path(settings.path))
    return NoSink()
