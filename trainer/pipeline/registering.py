"""Step ``register``: the candidate gets its version in the registry, with its lineage."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from trainer.features.table import TrainingTable
from trainer.pipeline.artefacts import load_value, save_value
from trainer.pipeline.evaluating import Evaluation
from trainer.pipeline.outcome import Outcome
from trainer.pipeline.runs import HEAD_NAME, RECORD_NAME, STEPS, RunHead
from trainer.registry.registry import Registry

_VERSION_NAME = "version.json"
# What tells this machine alone how far it came, and what a search or an export works with and nobody reads later.
_OF_THIS_MACHINE: Final = frozenset({"begun.json", RECORD_NAME, "search.db"})
_WORK: Final = frozenset({"answers", "variants"})


def register_candidate(
    registry: Registry, head: RunHead, table: TrainingTable, evaluation: Evaluation, run_folder: Path, folder: Path
) -> Outcome[int]:
    """Register the run's model as a candidate; the same run again is the same version, with its tags renewed."""
    tags = {
        "data_sha256": table.fingerprint,
        "code_version": head.code_version,
        "trigger": head.trigger,
        "reason": head.reason[:1000],
        "previous": str(head.champion or ""),
        "quality": f"{evaluation.figures.quality:.6f}" if evaluation.figures.alarms is None else "not known",
        "judged_rows": str(evaluation.figures.judged_rows),
    }
    keep_files(registry, head.run_id, run_folder, STEPS[: STEPS.index("register")])
    version = registry.register(head.model, run_id=head.run_id, folder=run_folder, tags={**tags, "gate": "pending"})
    # Of a run that was taken up the version was made before. What the gate said is not for this step to say.
    registry.tag(head.model, version, tags)
    save_value(folder / _VERSION_NAME, version)
    return Outcome(version, params={"version": version}, facts=(("version", f"{head.model}/{version}, a candidate"),))


def keep_files(registry: Registry, run_id: str, run_folder: Path, steps: Iterable[str]) -> None:
    """Store the head of a run and the files of some of its steps where other machines can fetch them."""
    inside = (path for step in steps for path in sorted((run_folder / step).rglob("*")) if path.is_file())
    kept = [path for path in inside if path.name not in _OF_THIS_MACHINE and not _WORK & set(path.parts)]
    registry.keep(run_id, run_folder, [run_folder / HEAD_NAME, *kept])


def load_version(folder: Path) -> int:
    """Read what `register_candidate` wrote."""
    return load_value(folder / _VERSION_NAME, int)
