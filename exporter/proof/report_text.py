"""Tells a report to people in text: tables for a terminal, and Markdown."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from exporter.proof.intervals import Estimate
from exporter.proof.parity import WorstRow
from exporter.proof.report import ExportReport, RuntimeRun, VariantReport

_COLUMNS = ("variant", "size", "quality", "loss", "max diff", "flips", "µs 50/99 %", "verdict")
_RUN_COLUMNS = ("variant", "library", "flips", "ties", "max diff", "µs 50/99 %", "MB")
_WORST_COLUMNS = ("row", "kind", "features that matter", "expected", "got")
_NONE = "–"
_SHOWN_OUTPUTS = 4


def report_table(report: ExportReport) -> Table:
    """Return the variants as a table for a terminal."""
    reasons = [f"{variant.name}: {variant.verdict}" for variant in report.variants if not variant.accepted]
    table = _table(_COLUMNS, title=title_of(report), caption="\n".join(reasons) or None, left=("variant", "verdict"))
    for variant in report.variants:
        outcome = "accepted" if variant.accepted else "refused"
        table.add_row(*_cells(variant)[:-1], outcome, style=None if variant.accepted else "dim")
    return table


def report_view(report: ExportReport) -> Group:
    """Return all that a person who exports wants to see in a terminal."""
    parts: list[RenderableType] = [report_table(report), Text(f"compared on {probes_text(report)}")]
    runs = [(variant, run) for variant in report.variants for run in variant.runs]
    if runs:
        table = _table(_RUN_COLUMNS, title="On every library that a variant claims", left=("variant", "library"))
        for variant, run in runs:
            if not run.not_run:
                table.add_row(variant.name, *_run_cells(run), style="red" if run.refusal else None)
        parts += ["", table]
        parts += [Text(line) for line in _not_run(report)]
    parts += [Text(line) for line in footprints_of(report)]
    parts += [Text(line, style="yellow") for line in doubts_of(report)]
    for variant in report.variants:
        if variant.failed is not None and variant.failed.worst:
            title = f"{variant.name} refused; the rows that differ most"
            table = _table(_WORST_COLUMNS, title=title, left=_WORST_COLUMNS, wraps=True)
            for row in variant.failed.worst:
                table.add_row(*map(escape, worst_cells(report, row)))
            parts += ["", table]
    if report.accepted:
        table = _table(
            ("board", "variant", "why"),
            title="Which variant suits which board",
            left=("board", "variant", "why"),
            wraps=True,
        )
        for choice in report.boards:
            table.add_row(choice.board, choice.variant or _NONE, choice.reason)
        parts += ["", table]
    return Group(*parts)


def report_markdown(report: ExportReport) -> str:
    """Return the whole report as Markdown."""
    lines = [f"**{_plain(title_of(report))}**", ""]
    lines += _markdown(_COLUMNS, (_cells(variant) for variant in report.variants))
    lines += ["", f"Compared on {probes_text(report)}.", ""]
    lines += [f"- {_plain(note)}" for note in (*report.notes, *footprints_of(report), *doubts_of(report))]
    runs = [(variant, run) for variant in report.variants for run in variant.runs]
    if runs:
        lines += ["", "## Quality, with 95 % confidence", ""]
        lines += _markdown(("variant", f"{report.metric}", "loss against the original"), _quality_rows(report))
        lines += ["", "## On every library that a variant claims", ""]
        lines += _markdown(_RUN_COLUMNS, ((v.name, *_run_cells(run)) for v, run in runs if not run.not_run))
        lines += ["", *(f"- {_plain(line)}" for line in _not_run(report))]
        lines += ["", "## By kind of row", ""]
        names = ("variant", "kind", "rows", "flips", "ties", "no number", "p50", "p90", "p99", "max")
        lines += _markdown(names, kind_rows(report))
    for variant in report.variants:
        if variant.failed is not None and variant.failed.worst:
            lines += ["", f"## {variant.name}: the rows that differ most", ""]
            lines += _markdown(_WORST_COLUMNS, (worst_cells(report, row) for row in variant.failed.worst))
    if report.boards:
        lines += ["", "## Which variant suits which board", ""]
        rows = ((c.board, c.variant or _NONE, c.implementation or _NONE, c.reason) for c in report.boards)
        lines += _markdown(("board", "variant", "library", "why"), rows)
    return "\n".join(lines) + "\n"


def title_of(report: ExportReport) -> str:
    """Return what was exported and how good the original is."""
    quality = f"{report.metric} {report.original_quality:.4f} on {report.evaluation_rows} rows"
    return f"{report.model}: {quality}"


def probes_text(report: ExportReport) -> str:
    """Return how many rows of each kind were compared."""
    return ", ".join(f"{n} {kind}" for kind, n in report.probes.items()) + " rows"


def footprints_of(report: ExportReport) -> list[str]:
    """Return what source takes on each microcontroller."""
    return [f"{variant.name} on {footprint}" for variant in report.variants for footprint in variant.footprints]


def doubts_of(report: ExportReport) -> list[str]:
    """Return what the intervals of accepted variants leave open."""
    return [f"{variant.name}: {variant.doubt}" for variant in report.variants if variant.doubt]


def interval_text(estimate: Estimate | None, sign: str = "") -> str:
    """Return a number with its interval."""
    if estimate is None:
        return _NONE
    return f"{estimate.value:{sign}.4f} [{estimate.low:{sign}.4f}, {estimate.high:{sign}.4f}]"


def worst_cells(report: ExportReport, row: WorstRow) -> tuple[str, ...]:
    """Return a row that differs as cells: which, why it is there, what matters of it, expected, got."""
    features = ", ".join(f"{_name_of(report, i)}={_number(row.features[i])}" for i in row.matters)
    return str(row.row), row.kind, features or _NONE, _outputs(report, row.expected), _outputs(report, row.got)


def kind_rows(report: ExportReport) -> list[tuple[str, ...]]:
    """Return the comparison kind by kind, on the first library of each variant."""
    return [
        (
            variant.name,
            kind.kind,
            *(str(n) for n in (kind.rows, kind.label_flips, kind.ties, kind.not_numbers)),
            *(f"{value:.2g}" for value in (kind.p50, kind.p90, kind.p99, kind.max)),
        )
        for variant in report.variants
        if variant.parity is not None
        for kind in variant.parity.kinds
    ]


def run_rows(report: ExportReport) -> list[tuple[str, ...]]:
    """Return what each library did with each variant, those that were not run among them."""
    rows: list[tuple[str, ...]] = []
    for variant in report.variants:
        for run in variant.runs:
            verdict = f"not run: {run.not_run}" if run.not_run else run.refusal or "passed"
            measured: tuple[str, ...] = (_NONE,) * 5
            if run.parity is not None:
                numbers = (run.parity.max_abs_difference, run.from_first, run.tolerance)
                measured = (str(run.parity.label_flips), str(run.parity.ties), *(f"{n:.2g}" for n in numbers))
            rows.append((variant.name, run.implementation, run.where or _NONE, *measured, *_cost_cells(run), verdict))
    return rows


def _cells(variant: VariantReport) -> tuple[str, ...]:
    if not variant.made or variant.parity is None or variant.latency is None:
        return (variant.name, *(_NONE,) * (len(_COLUMNS) - 2), variant.verdict)
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


def _run_cells(run: RuntimeRun) -> tuple[str, ...]:
    if run.parity is None:
        return (run.implementation, _NONE, _NONE, _NONE, _NONE, run.refusal[:60] or _NONE)
    return (
        run.implementation,
        str(run.parity.label_flips),
        str(run.parity.ties),
        f"{run.parity.max_abs_difference:.2g}",
        *_cost_cells(run),
    )


def _cost_cells(run: RuntimeRun) -> tuple[str, str]:
    latency, memory = run.latency, run.memory
    return (
        f"{latency.median_us:.1f}/{latency.p99_us:.1f}" if latency else _NONE,
        f"{memory.peak_bytes / 1e6:.1f}" if memory else _NONE,
    )


def _quality_rows(report: ExportReport) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("original", interval_text(report.original_interval), _NONE)]
    made = [variant for variant in report.variants if variant.made]
    return rows + [(v.name, interval_text(v.quality_interval), interval_text(v.loss, "+")) for v in made]


def _not_run(report: ExportReport) -> list[str]:
    """Return one line a library that was not run, whichever variants claim it."""
    found = {
        (run.implementation, run.not_run): None for variant in report.variants for run in variant.runs if run.not_run
    }
    return [f"not run: {name}: {why}" for name, why in found]


def _name_of(report: ExportReport, column: int) -> str:
    return report.features[column] if column < len(report.features) else f"feature {column}"


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.9g}"


def _outputs(report: ExportReport, values: Sequence[float | None]) -> str:
    """Return outputs: the best few by label, or the value; None stands for what is no number."""
    if len(report.labels) != len(values):
        return ", ".join("no number" if value is None else f"{value:.9g}" for value in values[:_SHOWN_OUTPUTS])
    if None in values:
        return "no number"
    ranked = sorted(zip(report.labels, values, strict=True), key=lambda pair: -(pair[1] or 0.0))
    return ", ".join(f"{label} {value:.6f}" for label, value in ranked[:2])


def _table(
    columns: Sequence[str], *, title: str, left: Sequence[str], caption: str | None = None, wraps: bool = False
) -> Table:
    table = Table(
        title=title, caption=caption, caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=not wraps)
    return table


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in rows]


def _plain(cell: str) -> str:
    """A name is a user's own: it may hold what Markdown takes for a cell's end, or for a tag."""
    return cell.replace("|", "/").replace("<", "&lt;").replace("\n", " ")
