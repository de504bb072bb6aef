"""Reads ``fieldloop.toml``, and names what contradicts itself in it."""

import os
from pathlib import Path
from typing import Final

import msgspec

from broker.topics import TopicError, parse_fleet
from edge_agent.configuration import ConfigurationError, load_toml
from trainer.errors import ProjectError
from trainer.project.cluster import ClusterSection, at_address, cluster_problems, resolve_cluster
from trainer.project.estimators import estimator_problems
from trainer.project.learning import LEAST_WILCOXON_BLOCKS
from trainer.project.project import LoadedProject, Project
from trainer.project.registry import registry_problems
from trainer.project.schema import load_schema
from trainer.project.signal import SignalSection, features_of, problems_of_section
from trainer.project.stores import StoresSection, resolve_stores, store_problems
from trainer.project.triggers import trigger_problems
from trainer.project.viewed import view_problems

FILE_NAME: Final = "fieldloop.toml"


def load_project(path: Path) -> LoadedProject:
    """Read a project file, or the one in a folder.

    Raises:
        ProjectError: unreadable, an unknown key (with the nearest known one), a wrong value, or a contradiction.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        project = load_toml(file, Project)
    except ConfigurationError as error:
        raise ProjectError(str(error)) from error
    for problem in _problems_of(project):
        msg = f"{file}: {problem}"
        raise ProjectError(msg)
    if project.data.schema is not None:
        project = msgspec.structs.replace(project, schema=load_schema(file.parent / project.data.schema))
    if project.signal is not None:
        project = msgspec.structs.replace(project, features=features_of(project.signal, project.features))
    folder = file.parent.resolve()
    stores = resolve_stores(project.stores, folder, os.environ)
    cluster = resolve_cluster(project.cluster, folder)
    project = msgspec.structs.replace(project, stores=StoresSection(), cluster=ClusterSection())
    return LoadedProject(project, folder, stores, cluster)


def with_dask(loaded: LoadedProject, address: str | None) -> LoadedProject:
    """Return a project whose search is done at the address that a command was given, if any.

    Raises:
        ProjectError: it is no address of a scheduler.
    """
    return msgspec.structs.replace(loaded, cluster=at_address(loaded.cluster, address))


def _problems_of(project: Project) -> list[str]:
    problems = []
    try:
        parse_fleet(project.fleet)
    except TopicError as error:
        problems.append(f"key 'fleet': {error}")
    problems += view_problems(project)
    problems += _input_problems(project)
    problems += _target_problems(project)
    rows = project.data.rows
    if rows is not None and rows[0] >= rows[1]:
        problems.append(f"key 'data.rows': {rows[0]} to {rows[1]} holds no row")
    problems += _schema_problems(project)
    problems += _judge_problems(project)
    problems += _slice_problems(project)
    if project.training.split == "entity" and project.data.entity is None:
        problems.append("key 'training.split': 'entity' needs the key 'data.entity', the column that names the entity")
    webhook = project.alerts.webhook
    if webhook is not None and not webhook.startswith(("http://", "https://")):
        problems.append(f"key 'alerts.webhook': {webhook!r} is no address; it begins with http:// or https://")
    rings = project.rollout.rings
    if list(rings) != sorted(set(rings)) or rings[-1] != 1.0:
        problems.append("key 'rollout.rings': shares must grow and end with 1.0")
    if project.training.pruning == "wilcoxon" and project.training.blocks < LEAST_WILCOXON_BLOCKS:
        problems.append(
            f"key 'training.pruning': 'wilcoxon' finds nothing in fewer than {LEAST_WILCOXON_BLOCKS} blocks; "
            "raise training.blocks, or take 'median'"
        )
    problems += estimator_problems(project.training.estimators)
    problems += trigger_problems(project.triggers)
    problems += registry_problems(project.registry)
    problems += store_problems(project.stores)
    problems += cluster_problems(project.cluster)
    return problems


def _target_problems(project: Project) -> list[str]:
    problems = _label_problems(project)
    target, labels = project.target, project.target.labels
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        problems.append(f"key 'target.labels': {twice[0]!r} is listed twice")
    if target.task == "anomaly" and len(labels) not in {0, 2}:
        problems.append('key \'target.labels\': an anomaly detection has two, the usual one first: ["good", "fault"]')
    if target.label_delay_s is not None and project.data.time is None:
        problems.append("key 'target.label_delay_s' needs the key 'data.timestamp', the column of the rows' times")
    classification_metrics = ("accuracy", "balanced_accuracy", "macro_f1")
    if (project.metric in classification_metrics) == (target.task == "regression"):
        problems.append(f"key 'target.metric': {project.metric!r} does not judge a {target.task}")
    if target.task != "classification" and project.training.class_weights != ("none",):
        problems.append(f"key 'training.class_weights': a {target.task} weighs no labels; take it out")
    return problems


def _label_problems(project: Project) -> list[str]:
    """List what rows without labels cannot be used for."""
    if project.target.is_labelled:
        return []
    if project.target.task != "anomaly":
        return ["missing required field `target.column`"]
    told = "no row is labelled (there is no 'target.column')"
    return [
        *([f"key 'data.labels': {told}; name the column of the labels"] if project.data.labels is not None else []),
        *([f"key 'target.label_delay_s': {told}; take it out"] if project.target.label_delay_s is not None else []),
        *([f"key 'gate.slices': {told}: nothing can be judged of slices"] if project.gate.slices else []),
    ]


def _judge_problems(project: Project) -> list[str]:
    rows, judge = project.data.rows, project.data.judge
    if judge is None:
        return []
    if judge[0] >= judge[1]:
        return [f"key 'data.judge': {judge[0]} to {judge[1]} holds no row"]
    if rows is None or judge[0] < rows[1]:
        return ["key 'data.judge': rows that judge come after those of 'data.rows', which must end before them"]
    split = project.training.split
    if split == "entity" or (split == "stratified" and project.data.entity is not None):
        return [f"key 'data.judge': 'training.split' is {split!r}: whole entities judge already; take one of the two"]
    return []


def _slice_problems(project: Project) -> list[str]:
    known = {feature.name: feature.categories for feature in project.features if feature.dtype == "category"}
    if project.target.task == "classification":
        known["target"] = project.target.labels
    problems = []
    for name in project.gate.slices:
        column, _, value = name.rpartition("=")
        values = known.get(column)
        if values is None:
            problems.append(f"key 'gate.slices': {name!r} is no slice; take COLUMN=VALUE of: {', '.join(known) or '-'}")
        elif value != "*" and values and value not in values:
            problems.append(f"key 'gate.slices': {column!r} has no value {value!r}; it has: {', '.join(values)}")
    return problems


def _schema_problems(project: Project) -> list[str]:
    problems = []
    if project.data.must_be_reviewed and project.data.schema is None:
        problems.append("key 'data.must_be_reviewed': there is no schema to review; name one in 'data.schema'")
    if project.schema is not None:
        problems.append("key 'schema': a schema stands in a file of its own; name it in 'data.schema'")
    return problems


def _input_problems(project: Project) -> list[str]:
    problems = []
    names = [feature.name for feature in project.features]
    if project.signal is not None:
        problems += _signal_problems(project, project.signal)
    elif not names:
        problems.append("missing required field `features`")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        problems.append(f"key 'features': {duplicates[0]!r} is listed twice")
    if project.target.column in names:
        problems.append(f"key 'target.column': {project.target.column!r} is a feature as well; a model must not see it")
    return problems


def _signal_problems(project: Project, section: SignalSection) -> list[str]:
    data, target = project.data, project.target
    not_channels = [name for name in (target.column, data.entity) if name is not None]
    problems = problems_of_section(
        section, project.features, is_regression=target.task == "regression", not_channels=not_channels
    )
    if data.timestamp is not None:
        problems.append(
            "key 'data.timestamp': readings of a signal stand in the order in which they were taken; "
            "'signal.time' names the column that shows gaps"
        )
    return problems
