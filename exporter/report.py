"""What an export found, as values, and how it is told: a table, Markdown, JSON. It measures nothing."""

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table

from exporter.cost import Latency
from exporter.parity import Parity

_COLUMNS = ("variant", "size", "quality", "loss", "max diff", "flips", "µs 50/99 %", "verdict")


class VariantReport(msgspec.Struct, frozen=True):
    """One requested variant.

    Attributes:
        made: whether there is a file; where not, `reason` says why, and the measured parts are None.
        file, size_bytes, sha256: of the file in the export's folder.
        tolerance: greatest difference from the original that a device may see, see `exporter.export.tolerance_of`.
        quality, original_quality: on the evaluation rows, by the report's metric.
        accepted: whether it may go into a bundle; where it was made and may not, `refusal` says which gate and by how
            much, and ``parity.worst`` shows the rows that differ most.
    """

    name: str
    runtime: str
    made: bool
    accepted: bool
    reason: str = ""
    refusal: str = ""
    file: str = ""
    size_bytes: int = 0
    sha256: str = ""
    tolerance: float = 0.0
    parity: Parity | None = None
    quality: float | None = None
    original_quality: float | None = None
    latency: Latency | None = None

    @property
    def latency_us(self) -> float:
        """Median microseconds of one row; 0 when it was not measured."""
        return self.latency.median_us if self.latency else 0.0

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        return "accepted" if self.accepted else self.reason or self.refusal


class ExportReport(msgspec.Struct, frozen=True):
    """What became of every requested variant.

    Attributes:
        model: the steps of the model.
        original_quality: of the original estimator on the evaluation rows.
    """

    model: str
    metric: str
    evaluation_rows: int
    original_quality: float
    variants: tuple[VariantReport, ...]

    @property
    def accepted(self) -> tuple[VariantReport, ...]:
        """The variants that may go into a bundle, in the order in which they were asked for."""
        return tuple(variant for variant in self.variants if variant.accepted)


def report_json(report: ExportReport) -> bytes:
    """Return the report as JSON; `parse_report` reads it back."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def parse_report(data: bytes) -> ExportReport:
    """Read a report from JSON; raise msgspec.ValidationError when it is none."""
    return msgspec.json.decode(data, type=ExportReport)


def report_table(report: ExportReport) -> Table:
    """Return the report as a table for a terminal."""
    reasons = [f"{variant.name}: {variant.verdict}" for variant in report.variants if not variant.accepted]
    table = Table(
        title=_title(report),
        caption="\n".join(reasons) or None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("variant", "verdict") else "right", no_wrap=True)
    for variant in report.variants:
        outcome = "accepted" if variant.accepted else "refused"
        table.add_row(*_cells(variant)[:-1], outcome, style=None if variant.accepted else "dim")
    return table


def report_markdown(report: ExportReport) -> str:
    """Return the report as a Markdown table."""
    lines = [f"**{_title(report)}**", "", f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in _cells(variant))} |" for variant in report.variants]
    return "\n".join(lines) + "\n"


def _title(report: ExportReport) -> str:
    quality = f"{report.metric} {report.original_quality:.4f} on {report.evaluation_rows} rows"
    return f"{report.model}: {quality}"


def _cells(variant: VariantReport) -> tuple[str, ...]:
    if not variant.made or variant.parity is None or variant.latency is None:
        return (variant.name, *("–",) * (len(_COLUMNS) - 2), variant.verdict)
    quality, original = variant.quality or 0.0, variant.original_quality or 0.0
    return (
        variant.name,
        f"{variant.size_bytes / 1000:.1f} kB",
        f"{quality:.4f}",
        f"{original - quality:+.4f}",
        f"{variant.parity.max_abs_difference:.2g}",
        f"{variant.parity.label_flips}/{variant.parity.rows}",
        f"{variant.latency.median_us:.1f}/{variant.latency.p99_us:.1f}",
        variant.verdict,
    )
