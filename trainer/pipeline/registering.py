"""Step ``register``: the candidate gets its version in the registry, with its lineage."""

from pathlib import Path

from trainer.features.table import TrainingTable
from trainer.pipeline.artefacts import load_value, save_value
from trainer.pipeline.evaluating import Evaluation
from trainer.pipeline.outcome import Outcome
from trainer.pipeline.runs import RunHead
from trainer.registry.registry import Registry

_VERSION_NAME = "version.json"


def register_candidate(
    registry: Registry, head: RunHead, table: TrainingTable, evaluation: Evaluation, run_folder: Path, folder: Path
) -> Outcome[int]:
    """Register the run's model as a candidate; the same run again is the same version."""
    tags = {
        "data_sha256": table.fingerprint,
        "code_version": head.code_version,
        "trigger": head.trigger,
        "reason": head.reason[:1000],
        "previous": str(head.champion or ""),
        "quality": f"{evaluation.figures.quality:.6f}",
        "judged_rows": str(evaluation.figures.judged_rows),
        "gate": "pending",
    }
    version = registry.register(head.model, run_id=head.run_id, folder=run_folder, tags=tags)
    save_value(folder / _VERSION_NAME, version)
    return Outcome(version, params={"version": version}, facts=(("version", f"{head.model}/{version}, a candidate"),))


def load_version(folder: Path) -> int:
    """Read what `register_candidate` wrote."""
    return load_value(folder / _VERSION_NAME, int)
