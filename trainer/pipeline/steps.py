"""The steps of the production pipeline: what each comes after, which code it is, and what of the project it reads.

A section or key that a step reads and does not name here would change without the step being carried out again:
`tests/unit/trainer/pipeline/test_steps.py` watches a run for that.
"""

from collections.abc import Mapping
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import Final

from edge_agent.clock import SystemClock
from exporter.models.model_file import load_estimator
from trainer.errors import TrainerError
from trainer.features.table import TrainingTable
from trainer.features.view_rows import view_fingerprints
from trainer.pipeline import (
    evaluating,
    exporting,
    extracting,
    judging,
    preparing,
    promoting,
    registering,
    training,
    validating,
)
from trainer.pipeline.anomalies import STATISTICS_NAME, FeatureStatistics, load_statistics
from trainer.pipeline.artefacts import save_value
from trainer.pipeline.bench import RunBench
from trainer.pipeline.evaluating import Champion, Evaluation
from trainer.pipeline.exporting import BUNDLE_NAME, Exported
from trainer.pipeline.gate_evidence import GateDecision
from trainer.pipeline.graph import Graph
from trainer.pipeline.outcome import Outcome
from trainer.pipeline.preparing import Splits
from trainer.pipeline.search.cluster import opened_place
from trainer.pipeline.step import Step
from trainer.pipeline.training import FRONT_NAME, MODEL_NAME, Trained
from trainer.pipeline.validating import Validation
from trainer.project.learning import TrainingSection
from trainer.project.project import LoadedProject

_SCHEMA_NAME: Final = "schema.json"
# The quality metric is the target's, or follows from its task; and of rows without labels there is none.
_METRIC: Final = ("target.metric", "target.task", "target.column")

_OF_THE_SEARCH: Final = tuple(
    field for field in TrainingSection.__struct_fields__ if field not in {"split", "blocks", "holdout"}
)


def _extract(bench: RunBench, at: Path) -> Outcome[TrainingTable]:
    return extracting.extract_rows(bench.loaded, bench.head.as_of_utc_s, at, bench.head.views or ())


def _validate(bench: RunBench, at: Path) -> Outcome[Validation]:
    outcome = validating.validate_rows(bench.project, bench.table, at, usual=_learnt_by_champion(bench))
    if not (at / _SCHEMA_NAME).exists():  # without a schema of its own, what the project declares is the schema
        save_value(at / _SCHEMA_NAME, bench.project.features)
    return outcome


def _prepare(bench: RunBench, at: Path) -> Outcome[Splits]:
    training, delay_s = bench.project.training, bench.project.target.label_delay_s or 0.0
    return preparing.prepare_splits(bench.table, bench.validation.is_kept, training, at, label_delay_s=delay_s)


def _train(bench: RunBench, at: Path) -> Outcome[Trained]:
    # Where trials are judged changes nothing of what comes out: it is no part of this step's code.
    place_of = partial(opened_place, cluster=bench.loaded.cluster, clock=SystemClock())
    return training.train_model(bench.lesson, at, storage=bench.loaded.stores.search, place_of=place_of)


def _evaluate(bench: RunBench, at: Path) -> Outcome[Evaluation]:
    return evaluating.evaluate_model(bench.lesson, bench.trained, _champion(bench), at)


def _register(bench: RunBench, at: Path) -> Outcome[int]:
    return registering.register_candidate(bench.registry, bench.head, bench.table, bench.evaluation, bench.folder, at)


def _export(bench: RunBench, at: Path) -> Outcome[Exported]:
    return exporting.export_candidate(
        bench.loaded,
        bench.lesson,
        bench.trained,
        bench.evaluation,
        bench.table.labels,
        version=bench.version,
        lineage=exporting.lineage_of(bench.head, bench.table),
        folder=at,
        registry=bench.registry,
    )


def _gate(bench: RunBench, at: Path) -> Outcome[GateDecision]:
    return judging.judge_candidate(bench.project, bench.evaluation, bench.exported, at)


def _promote(bench: RunBench, at: Path) -> Outcome[bool]:
    return promoting.promote_candidate(bench.registry, bench.project.name, bench.version, bench.decision, at)


def _given_rows(bench: RunBench) -> Mapping[str, str]:
    """Of the fleet's rows the time says it all: what was known once stays known."""
    files = {f"data file {path.name}": _digest_of(path) for path in bench.loaded.data_paths}
    return {**files, **_given_views(bench.loaded), "the time whose rows are taken": str(bench.head.as_of_utc_s)}


def _given_views(loaded: LoadedProject) -> Mapping[str, str]:
    """Return what each view holds that the project reads; what is wrong with one is told by the step itself."""
    try:
        return view_fingerprints(loaded)
    except TrainerError:
        return {"the views": "unreadable"}


def _given_champion(bench: RunBench) -> Mapping[str, str]:
    return {"the champion": str(bench.head.champion)}


def _champion(bench: RunBench) -> Champion | None:
    """Return the champion that a candidate must match; None when there is none."""
    version = bench.head.champion
    if not version:
        return None
    model = bench.registry.load(bench.project.name, version=version)
    mine, theirs = bench.folder / "extract", model.folder("extract")
    return evaluating.load_champion(
        version,
        load_estimator(model.model_file),
        model.folder("evaluate"),
        answers_alike=extracting.load_names(theirs) == (bench.table.names, bench.table.labels)
        and extracting.load_signal(theirs) == extracting.load_signal(mine),
    )


def _learnt_by_champion(bench: RunBench) -> tuple[FeatureStatistics, ...]:
    """Return the statistics of the rows that the champion learnt from; empty where none are known."""
    version = bench.head.champion
    if not version:
        return ()
    folder = bench.registry.load(bench.project.name, version=version).folder("validate")
    return load_statistics(folder) if (folder / STATISTICS_NAME).exists() else ()


def _digest_of(path: Path) -> str:
    """Return the hash of a file; that it cannot be read is told by the step itself."""
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


PRODUCTION: Final = Graph(
    (
        Step(
            "extract",
            (),
            _extract,
            ("trainer.pipeline.extracting",),
            ("data", "features", "signal", "target.column", "target.task", "target.labels", "target.label_delay_s"),
            _given_rows,
            # For people: the table holds the labels, and the project the categories.
            by_products=(extracting.VOCABULARIES_NAME, extracting.VIEWS_NAME),
            named={
                "rows": "table.npz",
                "vocabularies": extracting.VOCABULARIES_NAME,
                "views": extracting.VIEWS_NAME,
            },
        ),
        Step(
            "validate",
            ("extract",),
            _validate,
            ("trainer.pipeline.validating",),
            ("features", "schema", "data.schema", "data.must_be_reviewed", "target.column", "target.task"),
            _given_champion,
            by_products=(_SCHEMA_NAME,),
            named={"anomalies": "anomalies.json", "statistics": "statistics.json", "schema": _SCHEMA_NAME},
        ),
        Step(
            "prepare",
            ("extract", "validate"),
            _prepare,
            ("trainer.pipeline.preparing",),
            ("training.split", "training.blocks", "training.holdout", "target.label_delay_s"),
            named={"splits": "splits.npz"},
        ),
        Step(
            "train",
            ("extract", "prepare"),
            _train,
            ("trainer.pipeline.training",),
            (
                *("features", "seed", *_METRIC),
                # What a device cannot take is no candidate.
                *("export.variants", "export.boards", "export.max_size_bytes", "export.max_latency_us"),
                *(f"training.{key}" for key in _OF_THE_SEARCH),
            ),
            # The search's own book holds times of day.
            by_products=("search.db", "study.json", "answers/*"),
            named={"model": MODEL_NAME, "front": FRONT_NAME},
        ),
        Step(
            "evaluate",
            ("extract", "prepare", "train"),
            _evaluate,
            ("trainer.pipeline.evaluating",),
            ("features", "seed", "gate.slices", *_METRIC),
            _given_champion,
            named={"figures": "figures.json", "evidence": "evidence.npz"},
        ),
        Step(
            "register",
            # Of the evaluation it writes down the figures, of the others that they are the version's.
            ("extract", "validate", "prepare", "train", "evaluate"),
            _register,
            ("trainer.pipeline.registering",),
            (),
            _given_champion,
        ),
        Step(
            "export",
            ("extract", "prepare", "train", "evaluate", "register"),
            _export,
            ("trainer.pipeline.exporting",),
            (
                *("name", "features", "signal", "export", "gate.max_parity_loss", *_METRIC),
                *("rollout.trial", "monitoring.window_rows"),
            ),
            named={"report": "report.json", "manifest": f"{BUNDLE_NAME}/manifest.json"},
        ),
        Step(
            "gate",
            ("evaluate", "export"),
            _gate,
            ("trainer.pipeline.judging",),
            ("gate", "export", "target.label_delay_s", *_METRIC),
            named={"decision": "decision.json"},
        ),
        Step(
            "promote",
            ("register", "export", "gate"),
            _promote,
            ("trainer.pipeline.promoting",),
            ("name", "registry"),
        ),
    )
)
