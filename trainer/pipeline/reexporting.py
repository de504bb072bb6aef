"""Exports a version of the registry again: in other forms, for other boards, or with an exporter that has learnt more.

The rows and the evidence are those of the run that made the version. The version itself, its bundle included, stays as
it is: what is published under a number never changes.
"""

from pathlib import Path

from msgspec.structs import replace

from trainer.errors import ProjectError
from trainer.pipeline import evaluating, exporting, extracting, preparing, training
from trainer.pipeline.artefacts import load_value
from trainer.pipeline.exporting import Exported
from trainer.pipeline.runs import HEAD_NAME, RunHead
from trainer.project.project import LoadedProject
from trainer.project.signal import declared_in
from trainer.registry.registry import RegisteredModel


def export_version(loaded: LoadedProject, model: RegisteredModel, variants: tuple[str, ...], folder: Path) -> Exported:
    """Export a registered version.

    Args:
        loaded: its project; limits, boards and features are taken from it as it is now.
        model: the version.
        variants: names, or ``auto``; none: those of the project.
        folder: for the variants, the report and the bundle.

    Raises:
        ProjectError: the project has other features, labels or windows than this version was trained with.
        RunError: the run that made it is not there any more.
        ExporterError: it cannot be exported.
    """
    project = loaded.project
    table = extracting.load_rows(model.folder("extract"))
    names = tuple(feature.name for feature in project.features)
    if (trained_with := extracting.load_names(model.folder("extract"))) != (names, table.labels):
        raise ProjectError(
            f"{model.name}/{model.version} was trained with {', '.join(trained_with[0])}; the project has others "
            "now: export the version with the project file of then"
        )
    if extracting.load_signal(model.folder("extract")) != declared_in(project.signal):
        raise ProjectError(
            f"{model.name}/{model.version} was trained on other windows; the project has another section [signal] now: "
            "export the version with the project file of then"
        )
    if variants:
        project = replace(project, export=replace(project.export, variants=variants))
    splits = preparing.load_splits(model.folder("prepare"))
    exported = exporting.export_candidate(
        replace(loaded, project=project),
        training.lesson_of(project, table, splits),
        training.load_trained(model.folder("train")),
        evaluating.load_evaluation(model.folder("evaluate")),
        table.labels,
        version=model.version,
        lineage=exporting.lineage_of(load_value(model.file(HEAD_NAME), RunHead), table),
        folder=folder,
    )
    return exported.value
