"""Opens the source and the sink that the settings name."""

from collections.abc import Sequence
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import SourceError
from edge_agent.sensing.csv_replay import CsvReplay
from edge_agent.sensing.json_lines import JsonLines
from edge_agent.sensing.json_lines_sink import JsonLinesSink
from edge_agent.sensing.sink import NoSink, Sink
from edge_agent.sensing.source import Source
from edge_agent.settings import STDIN, SinkSettings, SourceSettings


class SourceOpener:
    """Opens one device's source for the features of a bundle."""

    def __init__(self, settings: SourceSettings, clock: Clock) -> None:
        """Keep the settings; nothing is opened yet."""
        self._settings = settings
        self._clock = clock
        self._opened_for: tuple[str, ...] | None = None

    def open(self, features: Sequence[str], cursor: int) -> Source:
        """Open the source at a row number.

        Raises:
            SourceError: it cannot be read, or does not give these features.
        """
        source = self._open(features, cursor)
        self._opened_for = tuple(features)
        return source

    def verify(self, features: Sequence[str]) -> None:
        """Check that the source can give these features, before a bundle that needs them is put on trial.

        Raises:
            SourceError: it cannot.
        """
        if self._settings.kind == "csv":
            self._open(features, 0).close()
        elif self._settings.path == STDIN and self._opened_for not in {None, tuple(features)}:
            raise SourceError(
                "standard input is being read for other features, and what was read ahead would be lost; "
                "start the agent anew, or use a file"
            )

    def _open(self, features: Sequence[str], cursor: int) -> Source:
        settings = self._settings
        columns = self._columns(features)
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

    def _columns(self, features: Sequence[str]) -> Sequence[str]:
        columns = self._settings.columns
        if columns and len(columns) != len(features):
            raise SourceError(
                f"key 'source.columns' names {len(columns)} columns, the bundle takes {len(features)} features: "
                f"{', '.join(features[:20])}"
            )
        return columns or features


def open_sink(settings: SinkSettings) -> Sink:
    """Open the sink.

    Raises:
        SettingsError: its file cannot be written.
    """
    if settings.kind == "json_lines" and settings.path is not None:
        return JsonLinesSink(Path(settings.path))
    return NoSink()
