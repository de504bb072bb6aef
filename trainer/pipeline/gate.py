"""The gate: may a candidate be promoted? A pure decision over measured evidence.

A refusal says which check failed and by how much. Qualities are in units of the project's metric, higher is better.
"""

import math
from typing import Final

from exporter.proof.units import figure_and_limit, size_text, time_text
from trainer.pipeline.alarms import AlarmFigures
from trainer.pipeline.gate_evidence import GateCheck, GateDecision, GateEvidence, VariantFigures
from trainer.project.fleet import ExportSection
from trainer.project.learning import GateSection

# Where nearly all rows are of one class, "better than always that class" says nothing.
_ONE_SIDED_SHARE: Final = 0.98
_RECENT_MARGIN: Final = 0.02
_MIN_SLICE_ROWS: Final = 20
# What is exactly at its limit must not be judged by the last bit of a difference.
_ROUNDING: Final = 1e-9


def decide(evidence: GateEvidence, gate: GateSection, export: ExportSection) -> GateDecision:
    """Judge a candidate: the same evidence and limits give the same decision."""
    of_quality = (
        _baseline(evidence, gate),
        *_persistence(evidence, gate),
        _previous(evidence, gate),
        _beyond_chance(evidence, gate),
        *_slices(evidence, gate),
        _recent(evidence),
    )
    checks = (
        *(of_quality if evidence.alarms is None else _without_labels(evidence, evidence.alarms, gate)),
        *(check for variant in evidence.variants if variant.made for check in _variant(variant, gate, export)),
        _any_variant(evidence),
    )
    return GateDecision(all(check.passed for check in checks if check.decides), checks, evidence)


def _without_labels(evidence: GateEvidence, alarms: AlarmFigures, gate: GateSection) -> tuple[GateCheck, ...]:
    """Say what cannot be judged, and hold a detector to how often it may alarm: all that unlabelled rows can show."""
    why = "not judged: no row is labelled, and whether its alarms are right nobody knows"
    previous = "there is no champion to compare with"
    if evidence.compared_rows:
        previous = (
            f"the champion, version {evidence.champion_version}, decides alike on {alarms.champion_agreement:.2%} of "
            f"{evidence.compared_rows} rows; which of the two is right on the others is not judged"
        )
    elif evidence.champion_version:
        previous = f"not compared with the champion, version {evidence.champion_version}"
    limit = gate.max_alarms
    text = (
        f"alarms: on {alarms.judged:.2%} of {evidence.judged_rows} rows ({alarms.trained:.2%} of those it learnt), "
        f"at most {limit:.2%}"
    )
    return (
        GateCheck("baseline", 0.0, 0.0, passed=True, text=f"baseline: {why}"),
        GateCheck("previous", 0.0, 0.0, passed=True, text=f"previous: {previous}"),
        GateCheck("alarms", alarms.judged, limit, alarms.judged <= limit + _ROUNDING, text, is_ceiling=True),
    )


def _baseline(evidence: GateEvidence, gate: GateSection) -> GateCheck:
    gain, limit = evidence.quality - evidence.constant_quality, gate.min_gain_over_baseline
    what = (
        f"baseline: {evidence.metric} {evidence.quality:.4f} on {evidence.judged_rows} rows, "
        f"a constant answer has {evidence.constant_quality:.4f}"
    )
    if evidence.majority_share >= _ONE_SIDED_SHARE:
        return GateCheck(
            "baseline", gain, limit, passed=True, text=f"{what}; not judged, nearly all rows are of one class"
        )
    # Strictly better: a model that answers a constant has earned nothing.
    passed = gain > limit + _ROUNDING
    return GateCheck("baseline", gain, limit, passed, f"{what}: gain {gain:+.4f}, must be more than {limit:+.4f}")


def _persistence(evidence: GateEvidence, gate: GateSection) -> list[GateCheck]:
    if not evidence.persistence_rows:
        return []
    gain, limit = evidence.quality - evidence.persistence_quality, gate.min_gain_over_baseline
    text = (
        f"persistence: {evidence.metric} {evidence.quality:.4f}, the last label known before a row has "
        f"{evidence.persistence_quality:.4f} ({evidence.persistence_rows} of {evidence.judged_rows} rows have one): "
        f"gain {gain:+.4f}, must be more than {limit:+.4f}"
    )
    if not evidence.is_label_delay_known:
        text += "; not judged, target.label_delay_s does not say how late labels are known"
        return [GateCheck("persistence", gain, limit, passed=True, text=text)]
    if evidence.majority_share >= _ONE_SIDED_SHARE:
        return [GateCheck("persistence", gain, limit, passed=True, text=f"{text}; not judged, nearly all are alike")]
    return [
        GateCheck("persistence", gain, limit, gain > limit + _ROUNDING, text),
        _chance_check(
            "persistence chance",
            "the last label known before a row",
            evidence.persistence_chance,
            evidence.judged_rows,
            gate.max_chance,
        ),
    ]


def _chance_check(name: str, other: str, chance: float, rows: int, limit: float) -> GateCheck:
    text = (
        f"{name}: a model no better than {other} gains as much on {rows} rows with a chance of {chance:.3f}, "
        f"at most {limit:g}"
    )
    return GateCheck(name, chance, limit, chance <= limit, text, is_ceiling=True)


def _previous(evidence: GateEvidence, gate: GateSection) -> GateCheck:
    limit = -gate.max_loss_to_previous
    champion = f"previous: the champion, version {evidence.champion_version},"
    if not evidence.champion_version:
        return GateCheck("previous", 0.0, limit, passed=True, text="previous: there is no champion to compare with")
    if not evidence.champion_answers_alike:
        # Somebody changed in the project file what is learnt: that is a decision; the old model cannot speak to it.
        return GateCheck(
            "previous", 0.0, limit, passed=True, text=f"{champion} has other features or labels: not compared"
        )
    if not evidence.compared_rows:
        return GateCheck(
            "previous", 0.0, limit, passed=False, text=f"{champion} has seen every judged row: give rows that are new"
        )
    gain = evidence.compared_quality - evidence.champion_quality
    text = (
        f"previous: {evidence.metric} {evidence.compared_quality:.4f}, the champion has "
        f"{evidence.champion_quality:.4f} "
        f"on the same {evidence.compared_rows} rows: gain {gain:+.4f}, must be at least {limit:+.4f}"
    )
    return GateCheck("previous", gain, limit, gain >= limit - _ROUNDING, text)


def _beyond_chance(evidence: GateEvidence, gate: GateSection) -> GateCheck:
    """Refuse a gain that chance gives too often: over the champion, or of a first model over a constant answer."""
    limit = gate.max_chance
    if evidence.champion_version and not evidence.champion_answers_alike:
        text = "chance: the champion has other features or labels: not compared"
        return GateCheck("chance", 0.0, limit, passed=True, text=text, is_ceiling=True)
    if not evidence.champion_version and evidence.majority_share >= _ONE_SIDED_SHARE:
        text = "chance: not judged, nearly all rows are of one class"
        return GateCheck("chance", 0.0, limit, passed=True, text=text, is_ceiling=True)
    other = "the champion" if evidence.champion_version else "a constant answer"
    chance = evidence.champion_chance if evidence.champion_version else evidence.constant_chance
    rows = evidence.compared_rows if evidence.champion_version else evidence.judged_rows
    return _chance_check("chance", other, chance, rows, limit)


def _slices(evidence: GateEvidence, gate: GateSection) -> list[GateCheck]:
    checks = []
    for part in evidence.slices:
        column, _, _ = part.name.rpartition("=")
        floor = gate.slices.get(part.name, gate.slices.get(f"{column}=*", -math.inf))
        text = f"slice {part.name}: {evidence.metric} {part.quality:.4f} on {part.rows} rows, at least {floor:g}"
        if part.rows < _MIN_SLICE_ROWS:
            text += f"; not judged, these are fewer than {_MIN_SLICE_ROWS} rows"
            checks.append(GateCheck(f"slice {part.name}", part.quality, floor, passed=True, text=text))
        else:
            passed = part.quality >= floor - _ROUNDING
            checks.append(GateCheck(f"slice {part.name}", part.quality, floor, passed, text))
    return checks


def _recent(evidence: GateEvidence) -> GateCheck:
    """Refuse a retrained model that does not beat a constant on the latest rows: retraining does not mend this."""
    if not evidence.recent_rows:
        return GateCheck(
            "recent", 0.0, -_RECENT_MARGIN, passed=True, text="recent: no labelled rows of the fleet to judge by"
        )
    margin = _RECENT_MARGIN * (max(abs(evidence.recent_constant_quality), 1e-12) if evidence.metric == "mae" else 1.0)
    gain = evidence.recent_quality - evidence.recent_constant_quality
    text = (
        f"recent: {evidence.metric} {evidence.recent_quality:.4f} on the latest {evidence.recent_rows} rows of the "
        f"fleet, a constant answer has {evidence.recent_constant_quality:.4f}: "
        f"gain {gain:+.4f}, must be more than {-margin:+.4f}"
    )
    if evidence.recent_majority_share >= _ONE_SIDED_SHARE:
        return GateCheck("recent", gain, -margin, passed=True, text=f"{text}; not judged, nearly all are of one class")
    return GateCheck("recent", gain, -margin, gain > -margin + _ROUNDING * margin, text)


def _variant(variant: VariantFigures, gate: GateSection, export: ExportSection) -> list[GateCheck]:
    size = figure_and_limit(variant.size_bytes, export.max_size_bytes, size_text)
    loss = (f"{variant.parity_loss:.6g} of the metric", f"{gate.max_parity_loss:.6g}")
    figures: list[tuple[str, float, float, tuple[str, str]]] = [
        ("parity loss", variant.parity_loss, gate.max_parity_loss, loss),
        ("size", float(variant.size_bytes), float(export.max_size_bytes), size),
    ]
    if export.max_latency_us is not None:
        time, most = figure_and_limit(variant.latency_us, export.max_latency_us, time_text)
        figures.append(("latency", variant.latency_us, export.max_latency_us, (f"{time} a row", most)))
    return [
        GateCheck(
            f"{variant.name} {what}",
            value,
            limit,
            value <= limit + _ROUNDING,
            f"{variant.name}: {what} {texts[0]}, at most {texts[1]}",
            is_ceiling=True,
            decides=False,
        )
        for what, value, limit, texts in figures
    ]


def _any_variant(evidence: GateEvidence) -> GateCheck:
    fitting = [variant.name for variant in evidence.variants if variant.made and not variant.refusal]
    reasons = "; ".join(f"{variant.name}: {variant.refusal}" for variant in evidence.variants if variant.refusal)
    text = (
        f"variants: {', '.join(fitting)} fit the devices" if fitting else f"variants: none fits the devices: {reasons}"
    )
    return GateCheck("variants", float(len(fitting)), 1.0, bool(fitting), text)
