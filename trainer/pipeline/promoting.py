"""Step ``promote``: carry out what the gate decided."""

from pathlib import Path

from trainer.errors import RunError
from trainer.pipeline.artefacts import load_value, save_value
from trainer.pipeline.describing import describe_version
from trainer.pipeline.gate_evidence import GateDecision
from trainer.pipeline.outcome import Outcome
from trainer.pipeline.registering import keep_files
from trainer.project.registry import CHAMPION, STAGING
from trainer.registry.registry import Registry

_PROMOTED_NAME = "promoted.json"


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
