"""Steps ``gate`` and ``promote``: lay the evidence before the gate, and carry out what it decides."""

from pathlib import Path

from trainer.errors import RunError
from trainer.pipeline.artefacts import load_value, save_value
from trainer.pipeline.describing import describe_version
from trainer.pipeline.evaluating import Evaluation
from trainer.pipeline.exporting import Exported
from trainer.pipeline.gate import GateDecision, GateEvidence, VariantFigures, decide
from trainer.pipeline.outcome import Outcome
from trainer.pipeline.registering import keep_files
from trainer.project.project import Project
from trainer.project.registry import CHAMPION, STAGING
from trainer.registry.registry import Registry

_DECISION_NAME = "decision.json"
_PROMOTED_NAME = "promoted.json"


def judge_candidate(
    project: Project, evaluation: Evaluation, exported: Exported, folder: Path
) -> Outcome[GateDecision]:
    """Let the gate decide, and keep the decision with its evidence."""
    decision = decide(_evidence(project, evaluation, exported), project.gate, project.export)
    save_value(folder / _DECISION_NAME, decision)
    facts = tuple(("passed" if check.passed else "REFUSED", check.text) for check in decision.checks if check.decides)
    return Outcome(decision, metrics={"gate_passed": float(decision.passed)}, facts=facts)


def load_decision(folder: Path) -> GateDecision:
    """Read what `judge_candidate` wrote."""
    return load_value(folder / _DECISION_NAME, GateDecision)


def promote_candidate(
    registry: Registry, name: str, version: int, decision: GateDecision, folder: Path
) -> Outcome[bool]:
    """Make a candidate that passed the champion, or leave it to a person; record the verdict either way.

    Raises:
        RunError: an attempt that was killed has made it the champion, and the gate as it is now refuses it.
    """
    if not decision.passed:
        _verify_not_champion(registry, name, version)
    registry.tag(name, version, {"gate": "passed" if decision.passed else "refused: " + "; ".join(decision.refusals)})
    # Before the promotion: who follows the champion must find all of it.
    model = registry.load(name, version=version)
    keep_files(registry, model.run_id, folder.parent, ("export", "gate"))
    describe_version(registry, name, version, folder.parent, folder)
    # Where the project wants a person to approve a champion, a run goes no further than to the stage before.
    stage = STAGING if CHAMPION in registry.stages.approval else CHAMPION
    may_go = decision.passed and stage not in registry.stages.approval
    if may_go:
        registry.promote(name, version, stage=stage)
    promoted = may_go and stage == CHAMPION
    save_value(folder / _PROMOTED_NAME, promoted)
    text = f"{name}/{version} is {registry.stages.alias_of(stage)}" if may_go else f"{name}/{version} stays a candidate"
    return Outcome(promoted, facts=(("registry", text),))


def _verify_not_champion(registry: Registry, name: str, version: int) -> None:
    """A refusal must not leave as the champion what an earlier attempt promoted by another gate."""
    champion = registry.find(name, alias=CHAMPION)
    if champion is not None and champion.version == version:
        raise RunError(
            f"{name}/{version} is the champion by an attempt that was broken off, and the gate as it is now refuses "
            "it: fieldloop registry rollback takes it back; then resume the run, or start a new one"
        )


def load_promoted(folder: Path) -> bool:
    """Read what `promote_candidate` wrote."""
    return load_value(folder / _PROMOTED_NAME, bool)


def _evidence(project: Project, evaluation: Evaluation, exported: Exported) -> GateEvidence:
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
