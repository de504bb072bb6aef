"""Joins what watches over one fleet: database, receiver, alerts, loop. The only place that knows all of them."""

import getpass
import logging
import os
import random
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from broker.audit import AUDIT_NAME, AuditedPublisher, AuditLog
from broker.client import Endpoint
from broker.messages import BundleRef
from broker.tls import open_tls
from broker.topics import FleetId, Topic
from edge_agent.bundle import Manifest
from edge_agent.clock import Clock
from exporter.repository.listing import is_repository
from exporter.repository.refresh import Waiting, refresh_timestamp
from exporter.repository.repository import load_listed_manifest, publish_bundle
from trainer.continuous.books import StoryEvent
from trainer.continuous.loop import Loop, Surroundings
from trainer.continuous.new_labels import NewLabels
from trainer.continuous.runner import FoundRun, RunOutcome, SubprocessRunner
from trainer.continuous.shadow_ends import ShadowEnds
from trainer.continuous.story import Story
from trainer.features.sources.reading import Access
from trainer.features.views.view import FeatureView, FleetTable
from trainer.monitoring.alerts import AlertSink, AllAlerts, FileAlerts, WebhookAlerts
from trainer.monitoring.device_alerts import DeviceAlerts
from trainer.monitoring.doubles import DoubleReports
from trainer.monitoring.fleet_rows import fleet_rows
from trainer.monitoring.floods import FloodReports
from trainer.monitoring.rates import RateLimit
from trainer.monitoring.receiver import Monitor
from trainer.monitoring.store import Store, open_store, store_uri
from trainer.pipeline.runs import RunOverview, list_runs, run_folder
from trainer.project.project import LoadedProject
from trainer.registry.registry import open_registry

logger = logging.getLogger(__name__)

STORE_NAME: Final = "fleet.db"
RUNS_NAME: Final = "runs"
REPOSITORY_NAME: Final = "repository"
KEYS_NAME: Final = "keys"
_PUBLISH_S: Final = 5.0
_REFRESH_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificate of the fleet's root; certificate and key of who connects."""

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return how a broker is known, and who this is; raise LinkError when a file is not what it should be."""
        return open_tls(str(self.ca), str(self.certificate), str(self.key))


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of one fleet are.

    Attributes:
        endpoint: of the broker.
        repository, keys: folders of the update repository and of its keys.
        database: URI of the fleet's database.
        audit: the audit log of orders.
        link: how the broker is known, and who this is to it; None: a broker on this machine, that asks nobody.
        by: who gives orders here: the identity in the certificate, or the user of this machine.
    """

    endpoint: Endpoint
    repository: Path
    keys: Path
    database: str
    audit: Path
    link: TlsFiles | None = None
    by: str = ""


def usual_places(loaded: LoadedProject, endpoint: Endpoint) -> Places:
    """Return the places in the project's state folder, where everything is unless something else is said."""
    state = loaded.state
    database = loaded.stores.telemetry or store_uri(state / STORE_NAME)
    return Places(endpoint, state / REPOSITORY_NAME, state / KEYS_NAME, database, state / AUDIT_NAME)


class Station:
    """One fleet's watch; `start` it, `step` it now and then, `close` it."""

    def __init__(
        self,
        loaded: LoadedProject,
        places: Places,
        *,
        clock: Clock,
        rng: random.Random,
        on_story: Callable[[StoryEvent], None] | None = None,
    ) -> None:
        """Open the database and join the parts; nothing is received before `start`.

        Args:
            loaded: the project.
            places: where its parts are.
            clock: tells the time.
            rng: for the waits between attempts to connect.
            on_story: is told every turn of the story as it happens.

        Raises:
            StoreError: the database cannot be opened.
        """
        self._places = places
        self._clock = clock
        self._manifests: dict[BundleRef, Manifest] = {}
        self._refresh_due_s = clock.monotonic_s()
        self._waiting: tuple[Waiting, ...] = ()
        loaded.state.mkdir(parents=True, exist_ok=True)
        self.store: Store = open_store(places.database)
        self._monitor = Monitor(
            places.endpoint,
            FleetId(loaded.project.fleet),
            self.store,
            clock=clock,
            rng=rng,
            tls=places.link.context() if places.link else None,
            limit=RateLimit(),
        )
        self._publish = AuditedPublisher(
            self._publish_and_wait, AuditLog(places.audit, clock.utc_s), places.by or getpass.getuser()
        )
        self._floods = FloodReports(self.store, clock)
        self._troubles = DeviceAlerts(self.store, clock)
        self._doubles = DoubleReports(clock)
        self._shadow_ends = ShadowEnds(self.store, loaded.project.name, lambda: open_registry(loaded), clock)
        self._alerts = open_alerts(loaded)
        self._runner = SubprocessRunner(
            loaded.folder, loaded.state / RUNS_NAME, find_run=lambda token: find_run(loaded.state, token), clock=clock
        )
        around = Surroundings(
            store=self.store,
            clock=clock,
            alerts=self._alerts,
            runner=self._runner,
            publish=self._publish,
            publish_bundle=lambda folder: publish_bundle(folder, places.repository, places.keys, clock=clock),
            manifest_of=self.manifest_of,
            count_rows=NewLabels(loaded, Access(os.environ, self._fleet_rows), clock).count,
        )
        self.loop = Loop(loaded, around, on_story=on_story)

    @property
    def is_connected(self) -> bool:
        """Whether the link to the broker is up."""
        return self._monitor.client.is_connected

    def start(self) -> None:
        """Start to receive; the broker need not be there yet."""
        self._monitor.start()

    def step(self) -> Story:
        """Look, decide, act; raise StoreUnavailableError when the database is away: try again later."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._refresh_due_s:
            # Devices refuse a listing whose timestamp has expired: somebody must sign it again while nothing changes.
            self._refresh_due_s = now_s + _REFRESH_S
            if is_repository(self._places.repository):  # nothing was published yet
                self._refresh()
        if self._monitor.receiver.rates is not None:
            for alert in self._floods.report(self._monitor.receiver.rates.take_over_rate()):
                self._alerts.send(alert)
        for alert in self._troubles.look(self._monitor.client.refused_topics):
            self._alerts.send(alert)
        for alert in self._doubles.report(self._monitor.receiver.doubles.take()):
            self._alerts.send(alert)
        for version in self._shadow_ends.look():
            logger.info("version %d is the challenger no more: no device has it in its shadow", version)
        return self.loop.step()

    def manifest_of(self, ref: BundleRef) -> Manifest | None:
        """Return the manifest of a bundle that the update repository lists; None when it lists none."""
        if ref not in self._manifests:
            manifest = load_listed_manifest(self._places.repository, ref)
            if manifest is None:
                return None
            self._manifests[ref] = manifest
        return self._manifests[ref]

    def _fleet_rows(self, table: FleetTable, view: FeatureView) -> Iterator[tuple[str, Any]]:
        return fleet_rows(self.store, table, view, self.manifest_of)

    def close(self) -> None:
        """Store what has come, end a run (it is resumed by the next station), tell what waits to be told."""
        self._runner.close()
        self._monitor.close()
        self._alerts.close()
        self.store.close()

    def _refresh(self) -> None:
        refreshed = refresh_timestamp(self._places.repository, self._places.keys, clock=self._clock)
        for waiting in refreshed.waiting:
            if waiting not in self._waiting:
                logger.warning("%s", waiting)
        self._waiting = refreshed.waiting

    def _publish_and_wait(self, topic: Topic, payload: bytes) -> None:
        self._monitor.client.publish_and_wait(topic, payload, _PUBLISH_S)


def find_run(state: Path, token: str) -> FoundRun | None:
    """Return the latest production run whose reason names a token; None when there is none."""
    found = [run for run in list_runs(state) if f"({token})" in run.head.reason]
    return FoundRun(found[-1].head.run_id, _outcome_of(state, found[-1])) if found else None


def _outcome_of(state: Path, run: RunOverview) -> RunOutcome | None:
    """Return how a run ended, as its command would have told; None when it has not ended."""
    if run.end is None:
        return None
    run_id, end = run.head.run_id, run.end
    facts = msgspec.to_builtins(end)
    if not end.promoted:
        return RunOutcome(end.outcome, end.reason, run_id, end.version, "", facts)
    bundle = run_folder(state, run_id) / "export" / "bundle"
    return RunOutcome("promoted", end.reason, run_id, end.version, str(bundle), facts)


def open_alerts(loaded: LoadedProject) -> AlertSink:
    """Return the sinks that the project names."""
    section = loaded.project.alerts
    sinks: list[AlertSink] = [FileAlerts(loaded.state / section.file)]
    if section.webhook:
        sinks.append(WebhookAlerts(section.webhook))
    return AllAlerts(sinks)
