"""All candidates of a project: its built-in families and those that it names itself."""

from collections.abc import Sequence

from trainer.errors import ProjectError
from trainer.pipeline.candidates import Family, families_of
from trainer.pipeline.search.named import families_named
from trainer.project.learning import TrainingSection
from trainer.project.project import Project


def families_of_project(project: Project) -> tuple[Family, ...]:
    """Return the families of a project, those that it names itself last.

    Raises:
        ProjectError: a candidate that there is none of, that does not do the task, or that is to be fitted with weights
            of labels and takes none.
    """
    training, task = project.training, project.target.task
    named = families_named(training.estimators, task)
    built_in = families_of(training.candidates, task) if training.candidates or not named else ()
    families = (*built_in, *named)
    _verify_weighted(families, training)
    return families


def unweighted(families: Sequence[Family]) -> tuple[str, ...]:
    """Return the names of the families that are fitted without weights of rows: to them all rows are alike."""
    return tuple(family.name for family in families if not family.takes_weights)


def _verify_weighted(families: Sequence[Family], training: TrainingSection) -> None:
    names = unweighted(families)
    if names and "none" not in training.class_weights:
        raise ProjectError(
            f"key 'training.class_weights': {names[0]!r} has no 'sample_weight' in its fit: labels cannot be weighed "
            'with it; take it out of the candidates, or add "none", and it is tried without weights'
        )
