"""The project file: one learning problem, described by one ``fieldloop.toml``.

Defaults are here and nowhere else; the file overrides them, unknown keys are refused. Paths in the file are relative to
the file. This module knows the words of a project, not how any of them is carried out.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from broker.topics import TopicError, parse_fleet
from edge_agent.bundle import Feature, TrialRules
from edge_agent.configuration import ConfigurationError, load_toml
from trainer.errors import ProjectError
from trainer.signal_section import SignalSection, features_of, problems_of_section

FILE_NAME = "fieldloop.toml"

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[int, Meta(ge=1)]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the sections."""


class DataSection(_Section, frozen=True, kw_only=True):
    """Where the training rows come from.

    Attributes:
        path: a CSV or Parquet file, relative to the project file; several are read one after the other.
        rows: first (inclusive) and last (exclusive) data row to train on, counted over all files; None: all.
        timestamp: column that orders the rows; None: the order of the file.
        entity: column that names the device or unit; None: all rows are of one.
    """

    path: Annotated[tuple[str, ...], Meta(min_length=1)]
    rows: tuple[Annotated[int, Meta(ge=0)], Positive] | None = None
    timestamp: str | None = None
    entity: str | None = None


class TargetSection(_Section, frozen=True, kw_only=True):
    """What is learnt.

    Attributes:
        labels: classes in the order of the outputs; empty: those found in the training rows, sorted.
        metric: ``accuracy``, ``balanced_accuracy`` or ``macro_f1``; ``r2`` or ``mae`` for regression.
    """

    column: str
    task: Literal["classification", "regression"]
    unit: str = ""
    labels: tuple[str, ...] = ()
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "r2", "mae"] | None = None


class TrainingSection(_Section, frozen=True, kw_only=True):
    """How models are searched.

    Attributes:
        candidates: names of families in ``trainer/pipeline/candidates.py``.
        trials: trials of the search over all families together.
        split: ``time``: contiguous blocks, the latest rows judge; ``entity``: blocks of whole entities (devices,
            writers), each judged by models that never saw them: what a new device may expect.
        blocks: blocks for cross-validation and for the references.
        holdout: share of rows, the latest, kept for evaluation alone.
        timeout_s: no new trial is started after that.
        fleet_weights: weights of one labelled row of the fleet against one old row, tried by the search.
    """

    candidates: Annotated[tuple[str, ...], Meta(min_length=1)] = ("forest", "mlp")
    trials: Positive = 12
    split: Literal["time", "entity"] = "time"
    blocks: Annotated[int, Meta(ge=2)] = 5
    holdout: Annotated[float, Meta(gt=0, lt=0.9)] = 0.2
    timeout_s: float = 600.0
    fleet_weights: Annotated[tuple[float, ...], Meta(min_length=1)] = (1.0, 3.0, 10.0, 30.0)


class GateSection(_Section, frozen=True, kw_only=True):
    """What a candidate must show before it is promoted; gains and margins in units of the metric.

    Attributes:
        min_gain_over_baseline: better than the majority (or mean) by at least this.
        max_loss_to_previous: not worse than the champion on the same rows by more than this.
        max_parity_loss: a variant's quality loss against the original model.
    """

    min_gain_over_baseline: float = 0.0
    max_loss_to_previous: float = 0.01
    max_parity_loss: float = 0.005


class ExportSection(_Section, frozen=True, kw_only=True):
    """What devices can take; at least one variant must fit.

    Attributes:
        variants: forms to make, in the order of preference; ``auto``: all that one of the boards runs. Those that a
            family does not allow are refused by name.
        boards: what the fleet is made of: ``pi-zero``, ``pi-3-32bit``, ``pi-3``, ``pi-4``, ``x86-64``, ``cortex-m``.
        max_latency_us: median of one row, on the machine that exports; None: not judged.
    """

    variants: Annotated[tuple[str, ...], Meta(min_length=1)] = ("auto",)
    boards: Annotated[tuple[str, ...], Meta(min_length=1)] = ("pi-zero", "pi-3-32bit", "pi-3", "pi-4", "x86-64")
    max_size_bytes: Positive = 4 << 20
    max_latency_us: float | None = None


class MonitoringSection(_Section, frozen=True, kw_only=True):
    """When monitoring asks, what confirms a loss, and how many labels may be wanted (rule of Ask, confirm, mend).

    Attributes:
        window_rows: rows in one telemetry window of a device.
        background_rows: rows a window and device that are sampled for a label without being asked for.
        background_labels: how many of the latest background labels are tested.
        background_p: significance of that test.
        ask_drop: drop of the estimated quality, in points of accuracy (regression: relative rise of the error).
        ask_z: and how many standard errors it must be away from what is usual.
        ask_labels: labels asked for to confirm or clear.
        confirm_p: significance of the test on the asked labels.
        confirm_margin: loss that is tolerated before it is called one.
        collapse_loss: a confirmed loss of at least this alerts people as well.
        retrain_labels: labelled rows gathered before a production run mends a confirmed loss.
        uncertain_share: share of the rows asked for then that devices choose for what they are, the least certain and
            the least like training; they train and do not judge. Rows asked for to confirm are all chosen at random.
        cooldown_windows: windows of every device without a new ask after a production run.
        max_label_share: never want labels for more than this share of a device's rows.
    """

    window_rows: Positive = 50
    background_rows: Annotated[int, Meta(ge=0)] = 2
    background_labels: Positive = 40
    background_p: Share = 0.01
    ask_drop: float = 0.03
    ask_z: float = 3.0
    ask_labels: Positive = 30
    confirm_p: Share = 0.05
    confirm_margin: float = 0.02
    collapse_loss: float = 0.35
    retrain_labels: Positive = 300
    uncertain_share: Share = 0.0
    cooldown_windows: Annotated[int, Meta(ge=0)] = 3
    max_label_share: Share = 0.3


class RolloutSection(_Section, frozen=True, kw_only=True):
    """In which shares a bundle reaches the fleet; the last ring is everybody.

    Attributes:
        rings: growing shares of the fleet; at least one device is in the first ring.
        max_failures: devices that may fail in a ring before the rollout stops and is taken back.
        trial: what a device must see of a bundle before it commits it.
    """

    rings: Annotated[tuple[Share, ...], Meta(min_length=1)] = (0.1, 1.0)
    max_failures: Annotated[int, Meta(ge=0)] = 0
    trial: TrialRules = msgspec.field(default_factory=TrialRules)


class AlertsSection(_Section, frozen=True, kw_only=True):
    """Who is told: a file that gets one JSON line an alert, and a webhook that gets the same by POST."""

    file: str = "alerts.jsonl"
    webhook: str | None = None


class Project(_Section, frozen=True, kw_only=True):
    """One learning problem.

    Attributes:
        name: of the model in the registry and of its bundles.
        fleet: name of the fleet on the wire.
        state: folder for everything that Fieldloop keeps, relative to the project file.
        features: the model's inputs, in order: columns of the data, or what windows of the signal give.
        signal: the data are raw readings, and this is how they become rows; None: every row of the data is one.
    """

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]
    fleet: str = "main"
    seed: int = 0
    state: str = ".fieldloop"
    data: DataSection
    # Without a signal there must be some: `_problems_of`.
    features: Annotated[tuple[Feature, ...], Meta(min_length=1)] = ()
    signal: SignalSection | None = None
    target: TargetSection
    training: TrainingSection = msgspec.field(default_factory=TrainingSection)
    gate: GateSection = msgspec.field(default_factory=GateSection)
    export: ExportSection = msgspec.field(default_factory=ExportSection)
    monitoring: MonitoringSection = msgspec.field(default_factory=MonitoringSection)
    rollout: RolloutSection = msgspec.field(default_factory=RolloutSection)
    alerts: AlertsSection = msgspec.field(default_factory=AlertsSection)

    @property
    def metric(self) -> str:
        """The quality metric: the file's, or the task's usual one."""
        return self.target.metric or ("accuracy" if self.target.task == "classification" else "r2")


class LoadedProject(Struct, frozen=True):
    """A project and the folder its paths start from."""

    project: Project
    folder: Path

    @property
    def state(self) -> Path:
        """The folder for everything that Fieldloop keeps of this project."""
        return self.folder / self.project.state

    @property
    def data_paths(self) -> tuple[Path, ...]:
        """The data files."""
        return tuple(self.folder / path for path in self.project.data.path)


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
    if project.signal is not None:
        project = msgspec.structs.replace(project, features=features_of(project.signal, project.features))
    return LoadedProject(project, file.parent.resolve())


def _problems_of(project: Project) -> list[str]:
    problems = []
    try:
        parse_fleet(project.fleet)
    except TopicError as error:
        problems.append(f"key 'fleet': {error}")
    problems += _input_problems(project)
    labels = project.target.labels
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        problems.append(f"key 'target.labels': {twice[0]!r} is listed twice")
    rows = project.data.rows
    if rows is not None and rows[0] >= rows[1]:
        problems.append(f"key 'data.rows': {rows[0]} to {rows[1]} holds no row")
    classification_metrics = ("accuracy", "balanced_accuracy", "macro_f1")
    if (project.metric in classification_metrics) != (project.target.task == "classification"):
        problems.append(f"key 'target.metric': {project.metric!r} does not judge a {project.target.task}")
    if project.training.split == "entity" and project.data.entity is None:
        problems.append("key 'training.split': 'entity' needs the key 'data.entity', the column that names the entity")
    webhook = project.alerts.webhook
    if webhook is not None and not webhook.startswith(("http://", "https://")):
        problems.append(f"key 'alerts.webhook': {webhook!r} is no address; it begins with http:// or https://")
    rings = project.rollout.rings
    if list(rings) != sorted(set(rings)) or rings[-1] != 1.0:
        problems.append("key 'rollout.rings': shares must grow and end with 1.0")
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
