"""Writes a version's model card: what it is for, what it takes, how good it is, what the gate said, where it is from.

One Markdown file that stands alone, with its picture inside; everything in it was recorded by the version's run.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from edge_agent.bundle import Feature, parse_manifest
from exporter.models.metrics import is_classification_metric
from exporter.proof.report import ExportReport, VariantReport, parse_report
from trainer.pipeline.alarms import AlarmFigures
from trainer.pipeline.artefacts import load_value
from trainer.pipeline.card_plots import draw_card
from trainer.pipeline.evaluating import Evaluation, Figures, load_evaluation
from trainer.pipeline.gate_evidence import GateDecision
from trainer.pipeline.runs import HEAD_NAME, RunHead
from trainer.registry.registry import RegisteredModel

CARD_NAME: Final = "card.md"
_NONE: Final = "–"


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says.

    Attributes:
        features: the inputs, as devices check them; without a bundle their names alone.
        bundled: names of the variants that devices get.
    """

    head: RunHead
    version: int
    features: tuple[Feature, ...]
    report: ExportReport
    evaluation: Evaluation
    decision: GateDecision
    bundled: tuple[str, ...]


def load_facts(run_folder: Path, version: int) -> CardFacts:
    """Read what a run has recorded of its version; raise RunError for what is not there."""
    report = parse_report((run_folder / "export" / "report.json").read_bytes())
    manifest = run_folder / "export" / "bundle" / "manifest.json"
    named = tuple(Feature(name) for name in report.features)
    return CardFacts(
        load_value(run_folder / HEAD_NAME, RunHead),
        version,
        parse_manifest(manifest.read_bytes()).features if manifest.is_file() else named,
        report,
        load_evaluation(run_folder / "evaluate"),
        load_value(run_folder / "gate" / "decision.json", GateDecision),
        tuple(variant.name for variant in report.bundled),
    )


def card_markdown(facts: CardFacts) -> str:
    """Return the card with its picture: the same facts give the same bytes."""
    evaluation = facts.evaluation
    picture = draw_card(
        facts.report.metric,
        evaluation.figures.blocks,
        evaluation.figures.constant_quality,
        evaluation.evidence.truth.astype(np.float64),
        evaluation.evidence.predictions,
        facts.report.labels,
    )
    inside = base64.b64encode(picture).decode()
    return f"{card_text(facts)}\n![Quality by block, and errors](data:image/svg+xml;base64,{inside})\n"


def card_text(facts: CardFacts) -> str:
    """Return the card without its picture."""
    head, figures, report = facts.head, facts.evaluation.figures, facts.report
    made = datetime.fromtimestamp(head.as_of_utc_s, UTC)
    judges_labels = is_classification_metric(report.metric)
    task = "detection of anomalies" if judges_labels and not report.labels else "regression"
    if report.labels:
        task = f"classification into {', '.join(map(_plain, report.labels))}"
    champion = (
        f"{figures.champion_quality:.4f} on {figures.compared_rows:,} rows that both had not seen"
        if figures.compared_rows
        else "there was none to compare with"
    )
    lines = [
        f"# {head.model}/{facts.version}",
        "",
        f"{_plain(report.model)}: {task}.",
        "",
        f"Trained on {made:%Y-%m-%d %H:%M} UTC on {_plain(head.host)}, {head.trigger}: {_plain(head.reason)}",
        "",
        "## How good it is",
        "",
        *_table(
            ("what", report.metric if figures.alarms is None else "share of alarms"),
            _qualities(figures, champion) if figures.alarms is None else _alarms(figures.alarms, figures.judged_rows),
        ),
        "",
        f"## The gate: {'passed' if facts.decision.passed else 'refused'}",
        "",
        *(
            f"- {'passed' if check.passed else 'REFUSED' if check.decides else 'left out'}: {_plain(check.text)}"
            for check in facts.decision.checks
        ),
        "",
        "## What it takes",
        "",
        *_table(("feature", "type", "unit", "valid", "without a value"), map(_feature_row, facts.features)),
        "",
        "## Its forms for devices",
        "",
        *_table(
            ("variant", "bytes", "µs a row", report.metric, "verdict"),
            (_variant_row(variant, bundled=variant.name in facts.bundled) for variant in report.variants),
        ),
        "",
        "## Where it is from",
        "",
        f"- run {head.run_id}",
        f"- code {head.code_version}",
        f"- follows {f'{head.model}/{head.champion}' if head.champion else 'no earlier champion'}",
        "",
        "## Limits",
        "",
        "- It was judged on rows like those of its training.",
        "- Devices count values outside the valid ranges; monitoring asks for labels where inputs or answers move.",
        *(f"- {_plain(note)}" for note in report.notes),
    ]
    return "\n".join(lines) + "\n"


def card_of(model: RegisteredModel, *, with_picture: bool) -> str:
    """Return the card of a version as it was stored, and what became of the version since.

    Raises:
        RegistryError: it has none: an older Fieldloop made it, or its run did not come so far.
    """
    text = model.file(f"promote/{CARD_NAME}").read_text(encoding="utf-8")
    if not with_picture:
        text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("!["))
    lines = [
        f"- {datetime.fromtimestamp(made.at_utc_s, UTC):%Y-%m-%d %H:%M} UTC: {made.kind} to {made.stage} by "
        f"{_plain(made.by)}, gate: {_plain(made.gate)}{_because(made.reason)}"
        for made in model.promotions
    ]
    return "\n".join([text.rstrip("\n"), "", "## Its stages", "", *(lines or ["- it was never promoted"])]) + "\n"


def _qualities(figures: Figures, champion: str) -> list[tuple[str, str]]:
    last_known = f"{figures.persistence_quality:.4f}, on {figures.persistence_rows:,} rows that have one"
    interval = f"{figures.quality:.4f} (95 %: {figures.quality_low:.4f} to {figures.quality_high:.4f})"
    return [
        (f"on {figures.judged_rows:,} rows that it was not trained on", interval),
        ("on the rows that it was trained on", f"{figures.train_quality:.4f}"),
        ("the best constant answer", f"{figures.constant_quality:.4f}"),
        *([("the last label that was known", last_known)] if figures.persistence_rows else []),
        ("worst and best block", f"{min(figures.blocks):.4f} to {max(figures.blocks):.4f}"),
        ("the champion of then", champion),
    ]


def _alarms(alarms: AlarmFigures, judged_rows: int) -> list[tuple[str, str]]:
    return [
        (f"on {judged_rows:,} rows that it was not trained on", f"{alarms.judged:.2%}"),
        ("on the rows that it was trained on", f"{alarms.trained:.2%}"),
        ("how good it is", "not known: no row is labelled"),
    ]


def _because(reason: str) -> str:
    return f", overruled: {_plain(reason)}" if reason else ""


def _feature_row(feature: Feature) -> tuple[str, ...]:
    if feature.categories:
        shown = feature.categories[:5]
        valid = ", ".join(shown) + (f" and {len(feature.categories) - 5} more" if len(feature.categories) > 5 else "")  # noqa: PLR2004
    elif feature.valid_min is None and feature.valid_max is None:
        valid = ""
    else:
        low = _NONE if feature.valid_min is None else f"{feature.valid_min:g}"
        high = _NONE if feature.valid_max is None else f"{feature.valid_max:g}"
        valid = f"{low} to {high}"
    return feature.name, feature.dtype, feature.unit, valid, feature.on_missing


def _variant_row(variant: VariantReport, *, bundled: bool) -> tuple[str, ...]:
    verdict = "in the bundle" if bundled else variant.verdict
    if not variant.made:
        return variant.name, _NONE, _NONE, _NONE, verdict
    latency = _NONE if variant.latency is None else f"{variant.latency_us:.1f}"
    quality = _NONE if variant.quality is None else f"{variant.quality:.4f}"
    return variant.name, f"{variant.size_bytes:,}", latency, quality, verdict


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [names, ["---"] * len(names), *rows]
    return [f"| {' | '.join(_plain(cell) or _NONE for cell in line)} |" for line in lines]


def _plain(text: str) -> str:
    """Return a text that Markdown takes as it is: names and reasons come from files and from devices."""
    one_line = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|" else sign for sign in one_line)
