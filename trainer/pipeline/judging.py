"""Step ``gate``: lay the evidence before the gate, and keep what it decides.

What made the evidence is imported for its types alone: other code of the search is no reason to judge again.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from trainer.pipeline.artefacts import load_value, save_value
from trainer.pipeline.gate import decide
from trainer.pipeline.gate_evidence import GateDecision, GateEvidence, VariantFigures
from trainer.pipeline.outcome import Outcome
from trainer.project.project import Project

if TYPE_CHECKING:
    from trainer.pipeline.evaluating import Evaluation
    from trainer.pipeline.exporting import Exported

_DECISION_NAME: Final = "decision.json"


def judge_candidate(
    project: Project, evaluation: "Evaluation", exported: "Exported", folder: Path
) -> Outcome[GateDecision]:
    """Let the gate decide, and keep the decision with its evidence."""
    decision = decide(_evidence(project, evaluation, exported), project.gate, project.export)
    save_value(folder / _DECISION_NAME, decision)
    facts = tuple(("passed" if check.passed else "REFUSED", check.text) for check in decision.checks if check.decides)
    return Outcome(decision, metrics={"gate_passed": float(decision.passed)}, facts=facts)


def load_decision(folder: Path) -> GateDecision:
    """Read what `judge_candidate` wrote."""
    return load_value(folder / _DECISION_NAME, GateDecision)


def _evidence(project: Project, evaluation: "Evaluation", exported: "Exported") -> GateEvidence:
    figures = evaluation.figures
    return GateEvidence(
        metric=project.metric,
        judged_rows=figures.judged_rows,
        quality=figures.quality,
        constant_quality=figures.constant_quality,
        majority_share=figures.majority_share,
        champion_version=figures.champion_version,
        champion_answers_alike=figures.champion_answers_alike,
        compared_rows=figures.compared_rows,
        compared_quality=figures.compared_quality,
        champion_quality=figures.champion_quality,
        recent_rows=figures.recent_rows,
        recent_quality=figures.recent_quality,
        recent_constant_quality=figures.recent_constant_quality,
        recent_majority_share=figures.recent_majority_share,
        champion_chance=figures.champion_chance,
        constant_chance=figures.constant_chance,
        slices=figures.slices,
        alarms=figures.alarms,
        persistence_rows=figures.persistence_rows,
        persistence_quality=figures.persistence_quality,
        persistence_chance=figures.persistence_chance,
        is_label_delay_known=project.target.label_delay_s is not None,
        variants=tuple(
            VariantFigures(
                name=variant.name,
                made=variant.made,
                refusal="" if variant.accepted else variant.verdict,
                size_bytes=variant.size_bytes,
                latency_us=variant.latency_us,
                parity_loss=(variant.original_quality or 0.0) - (variant.quality or 0.0),
            )
            for variant in exported.report.variants
            if variant.is_for_agent
        ),
    )
