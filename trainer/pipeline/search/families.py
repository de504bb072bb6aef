"""All candidates of a project: its built-in families and those that it names itself."""

from trainer.pipeline.candidates import Family, families_of
from trainer.pipeline.search.named import families_named
from trainer.project.project import Project


def families_of_project(project: Project) -> tuple[Family, ...]:
    """Return the families of a project, those that it names itself last.

    Raises:
        ProjectError: a candidate that there is none of, or that does not do the task.
    """
    training, task = project.training, project.target.task
    named = families_named(training.estimators, task)
    built_in = families_of(training.candidates, task) if training.candidates or not named else ()
    return (*built_in, *named)
