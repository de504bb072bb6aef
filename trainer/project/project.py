"""One learning problem as its file says it, and the folder that its paths start from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from edge_agent.bundle import Feature
from trainer.project.cluster import ClusterSection
from trainer.project.fleet import AlertsSection, ExportSection, MonitoringSection, RolloutSection
from trainer.project.learning import DataSection, GateSection, TargetSection, TrainingSection
from trainer.project.registry import RegistrySection
from trainer.project.schema import Schema
from trainer.project.section import Section
from trainer.project.signal import SignalSection
from trainer.project.stores import StoresSection, feature_address
from trainer.project.triggers import TriggersSection

# Anomalies are rare: who never sees one would be right nearly always.
_USUAL_METRIC: Final = {"classification": "accuracy", "regression": "r2", "anomaly": "balanced_accuracy"}


class Project(Section, frozen=True, kw_only=True):
    """One learning problem.

    Attributes:
        name: of the model in the registry and of its bundles.
        fleet: name of the fleet on the wire.
        state: folder for everything that Fieldloop keeps, relative to the project file.
        features: the model's inputs, in order: columns of the data, or what windows of the signal give.
        schema: what the rows must be, from the file that ``data.schema`` names; not a key of the project file.
        signal: the data are raw readings, and this is how they become rows; None: every row of the data is one.
    """

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]
    fleet: str = "main"
    seed: int = 0
    state: str = ".fieldloop"
    data: DataSection
    # Without a signal there must be some: `loading`.
    features: Annotated[tuple[Feature, ...], Meta(min_length=1)] = ()
    signal: SignalSection | None = None
    schema: Schema | None = None
    target: TargetSection
    training: TrainingSection = msgspec.field(default_factory=TrainingSection)
    gate: GateSection = msgspec.field(default_factory=GateSection)
    export: ExportSection = msgspec.field(default_factory=ExportSection)
    monitoring: MonitoringSection = msgspec.field(default_factory=MonitoringSection)
    rollout: RolloutSection = msgspec.field(default_factory=RolloutSection)
    alerts: AlertsSection = msgspec.field(default_factory=AlertsSection)
    triggers: TriggersSection = msgspec.field(default_factory=TriggersSection)
    registry: RegistrySection = msgspec.field(default_factory=RegistrySection)
    stores: StoresSection = msgspec.field(default_factory=StoresSection)
    cluster: ClusterSection = msgspec.field(default_factory=ClusterSection)

    @property
    def metric(self) -> str:
        """The quality metric: the file's, or the task's usual one."""
        return self.target.metric or _USUAL_METRIC[self.target.task]


class LoadedProject(Struct, frozen=True):
    """A project and the folder its paths start from.

    Attributes:
        project: as its file says; its sections ``[stores]`` and ``[cluster]`` are empty, so that no address is recorded
            with it.
        stores: the addresses in use: the environment's before the file's.
        cluster: what searches instead of this process: a command's option before the file's.
        pushes: of views, the last push that is read, by its number; of one not named all are.
    """

    project: Project
    folder: Path
    stores: StoresSection = StoresSection()
    cluster: ClusterSection = ClusterSection()
    pushes: Mapping[str, int] = msgspec.field(default_factory=dict)

    @property
    def state(self) -> Path:
        """The folder for everything that Fieldloop keeps of this project."""
        return self.folder / self.project.state

    @property
    def data_paths(self) -> tuple[Path, ...]:
        """The data files."""
        return tuple(self.folder / path for path in self.project.data.path)

    @property
    def data_name(self) -> Path:
        """What messages call the labelled rows: their first file, or the view that they are."""
        return self.data_paths[0] if self.project.data.path else Path(f"view {self.project.data.labels}")

    @property
    def feature_store(self) -> str:
        """The address of the feature store: what is set, else a folder in the state folder."""
        return feature_address(self.stores, self.state)
