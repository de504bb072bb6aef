"""Shows the steps of a production run: one line each, printed when the step ends, with a spinner while it works."""

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from trainer.pipeline.outcome import StepEvent


class StepLines:
    """Takes the events of a run; call it with each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None

    def __call__(self, event: StepEvent) -> None:
        """Show one event."""
        self.stop()
        if event.phase == "started":
            self._status = Status(f"{event.step} …", console=self._console)
            self._status.start()
            return
        line = Table.grid(padding=(0, 1, 0, 0), expand=True)
        for width in (1, 1, 9, 8, None):
            line.add_column(width=width, ratio=None if width else 1)
        mark, took = ("[green]✓[/]", f"[dim]{event.seconds:6.1f} s[/]") if event.phase == "finished" else ("=", "kept")
        said = (*event.facts, *((("because", event.why),) if event.why else ()))
        facts = "\n".join(f"[dim]{escape(name)}[/] {escape(text)}" for name, text in said)
        line.add_row("", mark, event.step, took, facts)
        self._console.print(line, highlight=False)

    def stop(self) -> None:
        """End the spinner, if there is one."""
        if self._status is not None:
            self._status.stop()
            self._status = None
