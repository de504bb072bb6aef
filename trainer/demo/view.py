"""What the demo shows in the terminal while it runs: steps, the export's report, the fleet live, the story."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from broker.messages import BundleRef
from broker.servers.local import LocalBroker
from exporter.proof.report_text import report_table
from trainer.console.fleet import fleet_table, read_fleet
from trainer.console.steps import StepLines
from trainer.console.story import print_story
from trainer.continuous.books import StoryEvent
from trainer.continuous.station import Station
from trainer.demo.devices import DeviceProcess
from trainer.demo.summary import Summary, facts_of
from trainer.pipeline.outcome import StepEvent
from trainer.pipeline.production import RunResult

_TICKS_A_TABLE = 2


class TerminalView:
    """Implements `trainer.demo.one_machine.View` with rich; without a terminal it prints lines only."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = StepLines(console)
        self._live: Live | None = None
        self._ticks = 0
        self._heading("Train: the production pipeline, every step in MLflow on SQLite")

    def step(self, event: StepEvent) -> None:
        """A step of a production run."""
        self._steps(event)

    def trained(self, result: RunResult) -> None:
        """The first model passed the gate; with its export report."""
        self._heading("Export: each variant run on the devices' own scoring code")
        if result.report is not None:
            self._console.print(report_table(result.report))

    def published(self, bundle: BundleRef, url: str) -> None:
        """The bundle is signed and served."""
        self._console.print(f"  [green]✓[/] {bundle} signed (TUF) and served at {escape(url)}", highlight=False)

    def started(self, broker: LocalBroker, devices: Sequence[DeviceProcess]) -> None:
        """Broker and devices run."""
        self._heading("Deploy and score: each device is a process of its own")
        self._console.print(
            f"  [green]✓[/] broker {broker.kind} at {broker.endpoint}, {len(devices)} devices", highlight=False
        )
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def story(self, event: StoryEvent) -> None:
        """A turn of the story."""
        print_story(self._console, event)

    def tick(self, station: Station, rows: int, of: int) -> None:
        """Some time has passed; ``rows`` of ``of`` are scored and stored."""
        self._ticks += 1
        if self._live is None or self._ticks % _TICKS_A_TABLE:
            return
        bar = Table.grid(padding=(0, 2, 0, 0))
        bar.add_row(ProgressBar(of, rows, width=40), Text(f"{rows:,} of {of:,} rows stored"))
        parts: list[RenderableType] = [
            fleet_table(read_fleet(station.store, station.manifest_of)),
            bar,
            Text(f"story: {station.loop.story.state.value}", style="dim"),
        ]
        self._live.update(Group(*parts))

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._steps.stop()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def summary(self, summary: Summary, files: Sequence[str]) -> None:
        """What came of it."""
        self.close()
        self._heading("Summary")
        self._console.print(_device_table(summary))
        figures = Table.grid(padding=(0, 3, 0, 0))
        for name, value in facts_of(summary):
            figures.add_row(f"[dim]{escape(name)}[/]", f"[bold]{escape(value)}[/]")
        self._console.print(figures)
        for file in files:
            self._console.print(f"  {escape(file)}", highlight=False)

    def _heading(self, text: str) -> None:
        self._console.print()
        self._console.rule(f"[bold]{escape(text)}[/]", align="left")


def _device_table(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("device")
    table.add_column("bundle")
    for name in ("rows", f"{summary.metric} before", "after", "switched at row", "update took"):
        table.add_column(name, justify="right")
    took = {update.device: update.seconds for update in summary.updates}
    for device in summary.devices:
        seconds = took.get(device.device)
        table.add_row(
            device.device,
            f"{summary.project}/{device.version}",
            f"{device.rows_scored:,}",
            "—" if device.quality_before is None else f"{device.quality_before:.3f}",
            "—" if device.quality_after is None else f"{device.quality_after:.3f}",
            "—" if device.switched_at_row is None else f"{device.switched_at_row:,}",
            "—" if seconds is None or device.switched_at_row is None else f"{seconds:.1f} s",
        )
    return table
