"""Puts everything that was found on one page that loads nothing: charts are drawn into it, the style stands in it.

Every text that comes from data is escaped; skrub's page of the columns stands in a frame of its own.
"""

import math
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Final

from msgspec import Struct

from trainer.experiment import svg
from trainer.experiment.data_analysis import DataAnalysis
from trainer.experiment.findings import Finding
from trainer.experiment.leakage import ColumnAlone
from trainer.experiment.model_analysis import ModelAnalysis, Slice

# Browsers themselves see to it that the page, and the frame in it, load nothing.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; font-src data:; "
    "frame-src 'self'"
)
_MAX_MATRIX: Final = 24
_SHOWN: Final = 24
_SMALL_CELL: Final = 18
_CELL: Final = 46
_MANY: Final = 12


class ReportFacts(Struct, frozen=True):
    """What stands at the head of the page.

    Attributes:
        trials: number, family and quality of every trial.
        where: the data files, for people.
    """

    name: str
    task: str
    target: str
    where: str
    made_utc: str
    family: str
    parameters: str
    trials: tuple[tuple[int, str, float], ...]
    judged_by: str


def report_page(
    facts: ReportFacts,
    findings: Sequence[Finding],
    data: DataAnalysis,
    columns: Sequence[ColumnAlone],
    model: ModelAnalysis,
    browser: str,
) -> str:
    """Return the page.

    Args:
        facts: of the experiment.
        findings: the gravest first.
        data: what was found in the rows.
        columns: what each of them tells alone.
        model: where it is good, and where not.
        browser: a whole page to look at single columns, as HTML.
    """
    sections = (
        ("findings", "What to look at", _findings(findings)),
        ("inputs", "Inputs", _inputs(data, columns)),
        ("leakage", "What each input tells alone", _alone(columns)),
        ("target", "Target", _target(data)),
        ("drift", "Drift", _drift(data)),
        ("missing", "Missing values", _missing(data)),
        ("correlation", "Correlations", _correlations(data)),
        ("training", "Training", _training(facts, model)),
        ("evaluation", "Evaluation", _evaluation(model, data)),
        ("importance", "What the model depends on", _importance(model)),
        ("slices", "Slices", _slices(model)),
        ("calibration", "Calibration", _calibration(model)),
        ("errors", "Worst answers", _errors(model)),
        ("browse", "Every column", _browser(browser)),
    )
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}"><h2>{escape(title)}</h2>{content}</section>' for name, title, content in sections
    )
    style = files("trainer.experiment").joinpath("style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(facts.name)}: experiment</title><style>{style}</style></head>"
        f'<body><div class="page"><nav>{links}</nav>'
        f"<main>{_head(facts, data, model)}{body}</main></div></body></html>\n"
    )


def _head(facts: ReportFacts, data: DataAnalysis, model: ModelAnalysis) -> str:
    overall = model.overall
    cards = (
        (f"{_signed(model.metric, overall.value)}", f"{model.metric} on {model.rows:,} unseen rows"),
        (f"{_signed(model.metric, overall.low)} – {_signed(model.metric, overall.high)}", "95 % confidence interval"),
        (_signed(model.metric, model.constant), "the best constant answer"),
        (f"{data.rows:,}", "rows"),
        (str(len(data.features)), "inputs"),
        (facts.family, "model"),
    )
    boxes = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in cards
    )
    return (
        f"<h1>{escape(facts.name)}</h1>"
        f'<p class="soft">{escape(facts.task)} of <b>{escape(facts.target)}</b> · '
        f"{escape(facts.where)} · {escape(facts.made_utc)}</p>"
        f'<div class="cards">{boxes}</div>'
    )


def _findings(findings: Sequence[Finding]) -> str:
    items = "".join(f'<li class="{item.grade}"><b>{escape(item.kind)}</b>{escape(item.text)}</li>' for item in findings)
    return f'<ul class="findings">{items}</ul>'


def _inputs(data: DataAnalysis, columns: Sequence[ColumnAlone]) -> str:
    alone = {column.name: column for column in columns}
    rows = []
    for item in data.features:
        flag = ' class="flag"' if alone[item.name].hint else ""
        values = (
            ", ".join(item.categories[:4]) + (" …" if len(item.categories) > 4 else "")  # noqa: PLR2004 - fits a cell
            if item.categories
            else f"{_number(item.minimum)} … {_number(item.median)} … {_number(item.maximum)}"
        )
        rows.append(
            f"<tr{flag}><td>{escape(item.name)}</td>"
            f"<td>{'category' if item.categories else escape(item.unit) or 'number'}</td>"
            f"<td>{svg.sparkline(item.histogram)}</td><td>{escape(values)}</td>"
            f'<td class="number">{_share(item.missing, item.rows)}</td><td class="number">{item.distinct:,}</td>'
            f'<td class="number">{alone[item.name].gain:.2f}</td></tr>'
        )
    head = (
        "<tr><th>Input</th><th>Kind</th><th>Values</th><th>Least … median … greatest</th>"
        '<th class="number">Missing</th><th class="number">Distinct</th><th class="number">Tells alone</th></tr>'
    )
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _alone(columns: Sequence[ColumnAlone]) -> str:
    shown = columns[:_SHOWN]
    rows = [
        (column.name, max(column.gain, 0.0), 0.0, 0.0, f"{column.gain:.2f}", "bad" if column.hint else "")
        for column in shown
    ]
    note = (
        "A small tree of one input alone, on rows it did not see: the share of what a constant answer gets wrong "
        "that it gets right. An input near 1 is nearly the target: ask whether it is known when a device must answer."
    )
    return f"{_note(note)}{svg.bars(rows)}{_rest(len(columns))}"


def _target(data: DataAnalysis) -> str:
    target = data.target
    names = _block_names(len(target.by_block))
    if target.labels:
        total = max(sum(target.counts), 1)
        counted = sorted(zip(target.labels, target.counts, strict=True), key=lambda item: -item[1])[:_SHOWN]
        rows = [(label, count / total, 0.0, 0.0, f"{count:,} ({count / total:.1%})", "") for label, count in counted]
        over_time = svg.stacks(list(zip(names, target.by_block, strict=True)), target.labels)
        return _pair(f"<h3>All rows</h3>{svg.bars(rows)}", f"<h3>By time, earliest first</h3>{over_time}")
    low = min(value for block in target.by_block for value in block)
    high = max(value for block in target.by_block for value in block)
    boxes = svg.quartiles(list(zip(names, target.by_block, strict=True)), low, high)
    spread = svg.sparkline(target.counts, 420, 150)
    return _pair(
        f"<h3>All rows: {_number(target.minimum)} to {_number(target.maximum)}</h3>{spread}",
        f"<h3>Quartiles by time, earliest first</h3>{boxes}",
    )


def _drift(data: DataAnalysis) -> str:
    *inputs, target = data.drift
    ordered = [target, *sorted(inputs, key=lambda item: -max(item.indices))][:_SHOWN]
    names = _block_names(len(data.block_rows))[1:]
    cells = [
        [
            (min(index / 1.0, 1.0), "bad" if index > limit else "", f"{index:.2f}")
            for index, limit in zip(item.indices, item.limits, strict=True)
        ]
        for item in ordered
    ]
    note = (
        "The population stability index of each later block of rows against the first. Red: above 0.2, and more than "
        "chance would give for so many rows and comparisons."
    )
    rows = [item.name + (" (target)" if item is target else "") for item in ordered]
    return f"{_note(note)}{_scroll(svg.heatmap(rows, names, cells, cell_width=72))}{_rest(len(inputs) + 1)}"


def _missing(data: DataAnalysis) -> str:
    gaps = [item for item in data.features if item.missing]
    if not gaps:
        return "<p>No input lacks a value.</p>"
    cells = [[(share, "warm", f"{share:.0%}") for share in item.missing_by_block] for item in gaps[:_SHOWN]]
    grid = svg.heatmap([item.name for item in gaps[:_SHOWN]], _block_names(len(data.block_rows)), cells, cell_width=72)
    return f'<p class="note">Share of missing values by time.</p>{_scroll(grid)}{_rest(len(gaps))}'


def _correlations(data: DataAnalysis) -> str:
    pairs = "".join(
        f"<tr><td>{escape(pair.first)}</td><td>{escape(pair.second)}</td>"
        f'<td class="number">{pair.correlation:+.3f}</td></tr>'
        for pair in data.notable_pairs
    )
    table = (
        "<h3>Strongest pairs of inputs</h3>"
        f'<table><tr><th>Input</th><th>Input</th><th class="number">ρ</th></tr>{pairs}</table>'
        if pairs
        else '<p class="note">No two inputs have |ρ| of 0.8 or more.</p>'
    )
    names = data.names
    if len(names) > _MAX_MATRIX:
        return f'<p class="note">{len(names)} columns are too many for a matrix.</p>{table}'
    width = _CELL if len(names) <= _MANY else _SMALL_CELL + 12
    cells = [
        [
            (0.0, "", "") if math.isnan(value) else (abs(value), "minus" if value < 0 else "", f"{value:.2f}"[:5])
            for value in row
        ]
        for row in data.correlations
    ]
    note = "Spearman's ρ; blue: rise together, orange: one falls as the other rises. The last row is the target."
    return f"{_note(note)}{_scroll(svg.heatmap(names, names, cells, cell_width=width))}{table}"


def _training(facts: ReportFacts, model: ModelAnalysis) -> str:
    best = max((quality for _, _, quality in facts.trials), default=0.0)
    rows = [
        (
            f"{number + 1}: {family}",
            quality,
            0.0,
            0.0,
            _signed(model.metric, quality),
            "good" if quality == best else "quiet",
        )
        for number, family, quality in facts.trials
    ]
    chosen = f"<p>Chosen: <b>{escape(facts.family)}</b> <code>{escape(facts.parameters)}</code></p>"
    note = f"{model.metric} of each trial on contiguous blocks it did not see."
    return f"{chosen}{_note(note)}{svg.bars(rows)}"


def _evaluation(model: ModelAnalysis, data: DataAnalysis) -> str:
    overall, name = model.overall, model.metric
    rows = [
        ("the model", overall.value, overall.low, overall.high, _signed(name, overall.value), ""),
        ("a constant answer", model.constant, 0.0, 0.0, _signed(name, model.constant), "quiet"),
        ("the model, trained rows", model.train_quality, 0.0, 0.0, _signed(name, model.train_quality), "quiet"),
    ]
    note = f"{name} on the {model.rows:,} rows that judge; the whisker is the 95 % interval of a block bootstrap."
    chart = f"{_note(note)}{svg.bars(rows, mark=model.constant)}"
    if model.confusion:
        return chart + _confusion(model, data.target.labels)
    return chart + (_scatter(model) if model.scatter else "")


def _confusion(model: ModelAnalysis, labels: Sequence[str]) -> str:
    if len(labels) > _MAX_MATRIX:
        return ""
    cells = []
    for truth, row in enumerate(model.confusion):
        total = max(sum(row), 1)
        cells.append(
            [(count / total, "" if truth == answer else "warm", f"{count:,}") for answer, count in enumerate(row)]
        )
    width = max(_CELL, *(min(len(label), 12) * 8 + 8 for label in labels))
    return f"<h3>Truth (rows) and answer (columns)</h3>{_scroll(svg.heatmap(labels, labels, cells, cell_width=width))}"


def _scatter(model: ModelAnalysis) -> str:
    ends = [value for point in model.scatter for value in point]
    points = [(truth, answer, 2.2) for truth, answer in model.scatter]
    plane = svg.plane(points, names=("truth", "answer"), has_line=False, low=min(ends), high=max(ends), size=420)
    return f"<h3>Truth and answer</h3>{plane}"


def _importance(model: ModelAnalysis) -> str:
    rows = [
        (item.name, max(item.loss, 0.0), item.loss - item.deviation, item.loss + item.deviation, f"{item.loss:.4f}", "")
        for item in model.importance[:_SHOWN]
    ]
    note = (
        f"By how much {model.metric} falls on unseen rows when an input's values are shuffled; "
        "the whisker is the spread over repeats."
    )
    return f"{_note(note)}{svg.bars(rows)}{_rest(len(model.importance))}"


def _slices(model: ModelAnalysis) -> str:
    name, overall = model.slice_metric, model.overall_of_slices
    rows = [_slice_row(part, overall, name) for part in model.slices]
    is_error = name == "mae"
    note = (
        f"{'Mean absolute error (less is better)' if is_error else name} with 95 % intervals. Red: worse than the "
        "whole beyond chance. The dashed line is the whole."
    )
    return f"{_note(note)}{svg.dots(rows, mark=abs(overall) if is_error else overall)}"


def _slice_row(part: Slice, overall: float, name: str) -> tuple[str, float, float, float, str, str]:
    low, value, high = part.quality.low, part.quality.value, part.quality.high
    if name == "mae":
        low, value, high = -high, -value, -low
    text = f"{value:.3g} · {part.rows:,} rows"
    return f"{part.group} {part.name}", value, low, high, text, "bad" if part.is_worse_than(overall) else ""


def _calibration(model: ModelAnalysis) -> str:
    bins = model.calibration
    if not bins:
        return "<p>Nobody has labelled these rows: what an answer is worth cannot be said.</p>"
    most = max((item.rows for item in bins), default=1)
    points = [(item.promised, item.found, 3 + 7 * math.sqrt(item.rows / most)) for item in bins]
    if not math.isnan(model.calibration_error):
        note = (
            "Rows by the probability of their answer: how often it was right. On the diagonal a probability can be "
            f"read as a share; on average it is {model.calibration_error:.3f} off. Larger points have more rows."
        )
        plane = svg.plane(points, names=("probability given", "share right"), has_line=True, low=0.0, high=1.0)
    elif model.confusion:
        note = "Rows by their score, in tenths: the share of anomalies in each. A good detector gives them low scores."
        ends = [point[0] for point in points]
        plane = svg.plane(points, names=("score", "share of anomalies"), has_line=False, low=min(*ends, 0.0), high=1.0)
    else:
        note = "Rows by their answer, in tenths: the mean truth of each. On the diagonal answers are right on average."
        ends = [value for point in points for value in point[:2]]
        plane = svg.plane(points, names=("answer", "mean truth"), has_line=True, low=min(ends), high=max(ends))
    return f"{_note(note)}{plane}"


def _errors(model: ModelAnalysis) -> str:
    if not model.is_labelled:
        return "<p>Nobody has labelled these rows: which answers are wrong cannot be said.</p>"
    if not model.errors:
        return "<p>No wrong answer among the rows that judge.</p>"
    last = "Score" if math.isnan(model.calibration_error) and model.confusion else "Error"
    last = last if math.isnan(model.calibration_error) else "Probability"
    rows = "".join(
        f'<tr><td class="number">{item.row:,}</td><td>{escape(item.truth)}</td><td>{escape(item.answer)}</td>'
        f'<td class="number">{item.certainty:.3g}</td><td>'
        + ", ".join(f"{escape(name)} = {_number(value)} ({far:+.1f} σ)" for name, value, far in item.unusual)
        + "</td></tr>"
        for item in model.errors
    )
    head = (
        f'<tr><th class="number">Row</th><th>Truth</th><th>Answer</th><th class="number">{last}</th>'
        "<th>Farthest from usual</th></tr>"
    )
    note = (
        "Wrong answers given with the greatest certainty." if model.confusion else "The answers that are farthest off."
    )
    note += " Rows are counted from 0, in the order of time."
    return _note(note) + _scroll(f"<table>{head}{rows}</table>")


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _scroll(content: str) -> str:
    return f'<div class="scroll">{content}</div>'


def _pair(first: str, second: str) -> str:
    return f'<div class="pair"><div>{first}</div><div>{second}</div></div>'


def _browser(page: str) -> str:
    return (
        '<details class="browse"><summary>Look at single columns and their associations (skrub)</summary>'
        f'<iframe title="columns" loading="lazy" srcdoc="{escape(page)}"></iframe></details>'
    )


def _block_names(number: int) -> list[str]:
    return [f"{100 * place // number}–{100 * (place + 1) // number} %" for place in range(number)]


def _rest(number: int) -> str:
    return f'<p class="note">The first {_SHOWN} of {number}; all are in analysis.json.</p>' if number > _SHOWN else ""


def _signed(metric: str, value: float) -> str:
    """Write a quality; an error stands negated in the books, and people know it as a positive number."""
    return f"{abs(value):.4g}" if metric == "mae" else f"{value:.3f}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if part else "–"
