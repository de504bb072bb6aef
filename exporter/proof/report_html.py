"""Writes a report as one page that stands alone: no script, nothing loaded, readable in light and in dark."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from exporter.proof.parity import CLOSE
from exporter.proof.report import ExportReport, VariantReport
from exporter.proof.report_plots import Bar, Interval, Quantiles, draw_bars, draw_intervals, draw_quantiles
from exporter.proof.report_text import (
    footprints_of,
    interval_text,
    kind_rows,
    probes_text,
    run_rows,
    title_of,
    worst_cells,
)

_STYLE: Final = """
:root{color-scheme:light dark;--page:#fafaf8;--card:#fff;--ink:#1d2126;--soft:#5b6570;--line:#dfe2e6;
--mark:#2767b0;--span:#9db9d8;--good:#1b7a46;--bad:#b3321f;--warn:#8a5a00}
@media(prefers-color-scheme:dark){:root{--page:#14171a;--card:#1c2024;--ink:#e6e8ea;--soft:#9aa5b1;--line:#333a41;
--mark:#7db3f2;--span:#3f6593;--good:#5fca8d;--bad:#ff8a75;--warn:#e5b45b}}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.45rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:2.2rem 0 .6rem}
p{margin:.3rem 0}.soft{color:var(--soft)}.warn{color:var(--warn)}.note{margin:.6rem 0}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(13.5rem,1fr));gap:.8rem;margin:1.2rem 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem .95rem}
.card h3{margin:0;font-size:.98rem}.card .verdict{font-weight:600;font-size:.85rem}
.accepted .verdict{color:var(--good)}.refused .verdict{color:var(--bad)}
.card dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .8rem;margin:.5rem 0 0;font-size:.86rem}
.card dt{color:var(--soft)}.card dd{margin:0;text-align:right;font-variant-numeric:tabular-nums}
.card p{font-size:.84rem;overflow-wrap:anywhere}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.7rem .9rem}
figure+figure{margin-top:.8rem}figcaption{font-size:.86rem;color:var(--soft);margin-bottom:.3rem}
svg{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}
svg text{fill:var(--ink)}svg .tick,svg .limit-text{fill:var(--soft);font-size:11px}
svg .grid{stroke:var(--line)}svg .mark{fill:var(--mark)}
svg .span{stroke:var(--span);stroke-width:4;stroke-linecap:round}
svg .refused{opacity:.45}svg .limit{stroke:var(--bad);stroke-dasharray:4 3}
.table{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.86rem}
th,td{padding:.35rem .7rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
tr:last-child td{border-bottom:0}th{color:var(--soft);font-weight:500}
.name{white-space:nowrap}.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
"""
_NONE: Final = "–"
_NAMES: Final = ("variant", "library", "where", "board")


def report_html(report: ExportReport) -> str:
    """Return the page; the same report gives the same bytes."""
    made = [variant for variant in report.variants if variant.made]
    parts = [
        f"<h1>{escape(title_of(report))}</h1>",
        f'<p class="soft">{_summary(report)}</p>',
        *(f'<p class="soft">{escape(note)}</p>' for note in (*report.notes, *footprints_of(report))),
        f'<div class="cards">{"".join(_card(variant) for variant in report.variants)}</div>',
    ]
    parts += _board_part(report)
    if made:
        parts += [*_quality_part(report, made), *_difference_part(made), *_cost_part(made), *_library_part(report)]
    parts += _worst_part(report)
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Export of {escape(report.model)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _summary(report: ExportReport) -> str:
    accepted = f"{len(report.accepted)} of {len(report.variants)} variants accepted"
    return f"{accepted}. Compared with the original on {escape(probes_text(report))}."


def _card(variant: VariantReport) -> str:
    verdict = "accepted" if variant.accepted else "refused"
    figures = ""
    if variant.made and variant.parity is not None:
        latency = variant.latency
        pairs = [
            ("file", f"{variant.size_bytes / 1000:.1f} kB"),
            ("with gzip", f"{variant.gzip_bytes / 1000:.1f} kB"),
            ("quality", f"{variant.quality or 0.0:.4f}"),
            ("other decisions", f"{variant.parity.label_flips} of {variant.parity.rows}"),
            ("max difference", f"{variant.parity.max_abs_difference:.2g}"),
            ("µs a row 50/99 %", f"{latency.median_us:.1f}/{latency.p99_us:.1f}" if latency else _NONE),
            ("memory", f"{variant.memory.peak_bytes / 1e6:.1f} MB" if variant.memory else _NONE),
        ]
        figures = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in pairs)
        figures = f"<dl>{figures}</dl>"
    why = "" if variant.accepted else f"<p>{escape(variant.verdict)}</p>"
    doubt = f'<p class="warn">{escape(variant.doubt)}</p>' if variant.doubt else ""
    return (
        f'<div class="card {verdict}"><h3>{escape(variant.name)}</h3>'
        f'<span class="verdict">{verdict if variant.made else "not made"}</span>{figures}{why}{doubt}</div>'
    )


def _quality_part(report: ExportReport, made: Sequence[VariantReport]) -> list[str]:
    original = report.original_interval
    intervals = []
    if original is not None:
        text = f"{original.value:.4f}"
        intervals.append(Interval("original", original.low, original.value, original.high, text))
    intervals += [
        Interval(v.name, q.low, q.value, q.high, f"{q.value:.4f}", _kind(v))
        for v in made
        if (q := v.quality_interval) is not None
    ]
    caption = f"{report.metric} with 95 % confidence, from {report.evaluation_rows} rows in contiguous blocks"
    rows = [(v.name, interval_text(v.quality_interval), interval_text(v.loss, "+"), v.doubt) for v in made]
    note = (
        f'<p class="soft note">A quantised variant may lose {report.max_loss:g}. The loss that was measured decides; '
        "its interval, from the same rows for both, says how sure it is.</p>"
    )
    columns = ("variant", report.metric, "loss against the original", "left open")
    return ["<h2>Quality</h2>", _figure(caption, draw_intervals(caption, intervals)), note, _table(columns, rows, ())]


def _difference_part(made: Sequence[VariantReport]) -> list[str]:
    figures = []
    for variant in made:
        if variant.parity is None:
            continue
        rows = [
            Quantiles(f"{k.kind} ({k.rows})", (k.p50, k.p90, k.p99, k.max), f"{k.max:.1e}", _kind(variant))
            for k in variant.parity.kinds
        ]
        caption = f"{variant.name}: difference from the original: half, 90 %, 99 % and all of the rows of a kind"
        limit = None if variant.is_quantised else CLOSE * variant.parity.scale
        figures.append(_figure(caption, draw_quantiles(caption, rows, limit, "far")))
    return ["<h2>Differences from the original</h2>", *figures]


def _cost_part(made: Sequence[VariantReport]) -> list[str]:
    sizes = [Bar(v.name, v.size_bytes, f"{v.size_bytes / 1000:.1f} kB", _kind(v)) for v in made]
    times = [
        Bar(v.name, t.median_us, f"{t.median_us:.1f} µs, 99 %: {t.p99_us:.1f}", _kind(v))
        for v in made
        if (t := v.latency) is not None
    ]
    batches = [
        Bar(v.name, t.batch_1000_us, f"{t.batch_1000_us:.2f} µs a row", _kind(v))
        for v in made
        if (t := v.latency) is not None
    ]
    memory = [
        Bar(v.name, m.peak_bytes, f"{m.peak_bytes / 1e6:.1f} MB, runtime {m.runtime_bytes / 1e6:.1f}", _kind(v))
        for v in made
        if (m := v.memory) is not None
    ]
    plots = (
        ("Bytes of the file", sizes),
        ("One row: median, on the machine that exported", times),
        ("In batches of 1,000 rows, likewise", batches),
        ("Peak memory of a process that loads and scores, above bare Python", memory),
    )
    return ["<h2>Cost</h2>", *(_figure(caption, draw_bars(caption, bars)) for caption, bars in plots if bars)]


def _library_part(report: ExportReport) -> list[str]:
    columns = (
        *("variant", "library", "where", "flips", "ties", "max difference", "from the first", "tolerance"),
        *("µs 50/99 %", "MB", "verdict"),
    )
    numbers = ("flips", "ties", "max difference", "from the first", "tolerance", "µs 50/99 %", "MB")
    kinds = ("variant", "kind", "rows", "flips", "ties", "no number", "p50", "p90", "p99", "max")
    return [
        "<h2>On every library that a variant claims</h2>",
        _table(columns, run_rows(report), numbers),
        "<h2>By kind of row</h2>",
        _table(kinds, kind_rows(report), kinds[2:]),
    ]


def _worst_part(report: ExportReport) -> list[str]:
    parts = []
    for variant in report.variants:
        if variant.failed is None or not variant.failed.worst:
            continue
        columns = ("row", "kind", "features that matter", "expected", "got")
        rows = [worst_cells(report, row) for row in variant.failed.worst]
        parts += [
            f"<h2>{escape(variant.name)} refused: the rows that differ most</h2>",
            _table(columns, rows, ("row",)),
        ]
    return parts


def _board_part(report: ExportReport) -> list[str]:
    if not report.boards:
        return []
    rows = [(c.board, c.variant or _NONE, c.implementation or _NONE, c.reason) for c in report.boards]
    rule = (
        "Of the accepted variants: those with a library for the board's architecture, within a quarter of its memory, "
        "as good as the best within the bound; of these the least memory, then the fastest here, then the smallest."
    )
    table = _table(("board", "variant", "library", "why"), rows, ())
    return ["<h2>Which variant suits which board</h2>", f'<p class="soft">{rule}</p>', table]


def _kind(variant: VariantReport) -> str:
    return "" if variant.accepted else "refused"


def _figure(caption: str, plot: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{plot}</figure>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str]) -> str:
    kinds = ["number" if name in numbers else "name" if name in _NAMES else "" for name in columns]
    classes = [f' class="{kind}"' if kind else "" for kind in kinds]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(columns, classes, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, classes, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
