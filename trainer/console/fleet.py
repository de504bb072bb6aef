"""Shows the fleet as a table: who is there, what runs, how far, and how good it seems without labels."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from broker.messages import BundleRef
from broker.topics import DeviceId
from edge_agent.bundle import Manifest
from trainer.monitoring.fleet import DeviceTotals, latest_windows, list_devices, totals_of_devices
from trainer.monitoring.quality import estimate_quality
from trainer.monitoring.store import Store

_LATEST = 3


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """One row of the table.

    Attributes:
        estimated: quality of the latest windows, estimated without labels; None before the first.
    """

    device: DeviceId
    online: bool
    bundle: str
    variant: str
    update_state: str
    rows: int
    refused: int
    samples: int
    estimated: float | None
    usual: float | None


def read_fleet(store: Store, manifest_of: Callable[[BundleRef], Manifest | None]) -> tuple[DeviceLine, ...]:
    """Read what the table shows; ``manifest_of`` finds the manifest of a bundle, or None."""
    totals = totals_of_devices(store)
    lines = []
    for state in list_devices(store):
        manifest = None if state.bundle is None else manifest_of(state.bundle)
        estimate = None
        if manifest is not None:
            stored = latest_windows(store, manifest.ref, per_device=_LATEST).get(state.device, ())
            estimate = estimate_quality([one.window for one in stored], manifest)
        total = totals.get(state.device, DeviceTotals())
        lines.append(
            DeviceLine(
                device=state.device,
                online=state.online,
                bundle=str(state.bundle or "—"),
                variant=(state.status.variant or "—") if state.status is not None else "—",
                update_state=state.update_state or "—",
                rows=total.rows_scored,
                refused=total.rows_refused,
                samples=total.samples,
                estimated=None if estimate is None else estimate.estimated,
                usual=None if estimate is None else estimate.expected,
            )
        )
    return tuple(lines)


def fleet_table(lines: tuple[DeviceLine, ...], title: str = "") -> Table:
    """Return the table."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("device", "link", "bundle", "variant", "update"):
        table.add_column(name)
    for name in ("rows", "refused", "sampled", "estimated", "usual"):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(
            line.device,
            "[green]online[/]" if line.online else "[red]offline[/]",
            # A device says these: brackets in them are no markup.
            escape(line.bundle),
            escape(line.variant),
            escape(line.update_state),
            f"{line.rows:,}",
            f"{line.refused:,}",
            f"{line.samples:,}",
            _number(line.estimated),
            _number(line.usual),
        )
    return table


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
