"""The shell around the story: reads the store, lets the pure parts decide, keeps the state, then acts.

`Loop.step` is called every now and then. It never waits for devices, labels or runs: it looks whether they are there.
Every action is one that can be done again (asks and orders keep their ids, runs their token, publishing the same bundle
changes nothing), so that a step that was cut off is simply taken again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from broker.messages import BundleRef
from broker.topics import DeviceId, FleetId, Topic
from edge_agent.bundle import Manifest
from edge_agent.clock import Clock
from edge_agent.errors import AgentError
from exporter.errors import ExporterError
from trainer.continuous.asking import Asking
from trainer.continuous.books import Books, StoryEvent
from trainer.continuous.endings import because_of, read_ending
from trainer.continuous.runner import ProductionRunner, RunRequest
from trainer.continuous.story import Happening, State, Story, is_cooled, is_overdue
from trainer.continuous.triggers import find_due
from trainer.continuous.watch import Watch, watch_fleet
from trainer.errors import DataError
from trainer.features.store import push_labelled
from trainer.monitoring.alerts import AlertSink
from trainer.monitoring.confirmation import Confirmation, confirm
from trainer.monitoring.diagnosis import Diagnosis, diagnose
from trainer.monitoring.fleet import StoredWindow, count_windows, last_window_number, latest_windows, list_devices
from trainer.monitoring.labelled import LabelledRows, labelled_rows
from trainer.monitoring.outcomes import AT_RANDOM, count_labels, errors_of, labelled_samples
from trainer.monitoring.quality import expectation_of, suits
from trainer.monitoring.severity import judge_severity, measure_skew
from trainer.monitoring.store import Store
from trainer.project.project import LoadedProject
from trainer.rollout.operator import RolloutOperator
from trainer.rollout.steps import RolloutRules

logger = logging.getLogger(__name__)

BY = "monitor"


class LoopRules(Struct, frozen=True):
    """What the project file does not say.

    Attributes:
        label_patience_windows: windows of a device after which labels that did not come are called missing.
        round_windows: windows of a device after which an ask to gather that was not answered in full is repeated.
        rollout: how careful rollouts are.
    """

    label_patience_windows: int = 20
    round_windows: int = 5
    rollout: RolloutRules = RolloutRules()


class Surroundings(Struct, frozen=True):
    """What the loop works with; all of it is passed in.

    Attributes:
        publish: returns once the broker has the message, and raises LinkError otherwise.
        publish_bundle: signs a bundle's folder into the update repository; the same folder twice is once.
        manifest_of: finds the manifest of a bundle; None when it is not known here.
        count_rows: adds to the new labelled rows of the fleet those of the project's views, or raises DataError; None:
            nobody looked now.
    """

    store: Store
    clock: Clock
    alerts: AlertSink
    runner: ProductionRunner
    publish: Callable[[Topic, bytes], None]
    publish_bundle: Callable[[Path], BundleRef]
    manifest_of: Callable[[BundleRef], Manifest | None]
    count_rows: Callable[[int], int | None] = int


class Loop:
    """The loop of one fleet."""

    def __init__(
        self,
        loaded: LoadedProject,
        around: Surroundings,
        *,
        rules: LoopRules | None = None,
        on_story: Callable[[StoryEvent], None] | None = None,
    ) -> None:
        """Join the loop's parts.

        Args:
            loaded: the project.
            around: what it works with.
            rules: beyond the project's.
            on_story: is told every turn of the story as it happens, for a live display.
        """
        self._loaded = loaded
        self._monitoring = loaded.project.monitoring
        self._around = around
        self._store = around.store
        self._rules = rules or LoopRules(rollout=RolloutRules(loaded.project.rollout.max_failures))
        self._fleet = FleetId(loaded.project.fleet)
        self.operator = RolloutOperator(around.store, self._fleet, around.publish, around.clock)
        self._books = Books(around.store, self._fleet, around.clock, around.alerts, on_story)
        self._asking = Asking(around.store, self._fleet, around.publish, around.clock)
        self._turns: Mapping[State, Callable[[Story], None]] = {
            State.WATCHING: self._watch,
            State.ASKED: self._hear,
            State.COLLECTING: self._gather,
            State.RUNNING: self._run,
            State.ROLLING_OUT: self._roll_out,
            State.COOLING_DOWN: self._cool_down,
        }

    @property
    def story(self) -> Story:
        """The story as it is kept."""
        return self._books.load()

    def step(self) -> Story:
        """Look, decide, act; return the story as it stands then.

        Raises:
            StoreUnavailableError: nothing was decided; try again later.
        """
        story = self._books.load()
        self.operator.greet_newcomers()
        for rollout in self.operator.list():
            if rollout.state == "running" and rollout.order_id != story.token:
                self.operator.step(rollout.order_id)  # begun by hand
        self._asking.send_unsent()
        self._turns[story.state](story)
        return self._books.load()

    # --- watching ----------------------------------------------------------------------------------------------------

    def _watch(self, story: Story) -> None:
        if not story.ran_utc_s:
            story = replace(story, ran_utc_s=self._around.clock.utc_s())
            self._books.save(story)
        story, labels = self._count_labels(story)
        if self._run_when_due(story, labels):
            return
        seen = self._look(story)
        if seen is None or not seen.is_new_round(story.judged_window):
            return
        story = replace(story, judged_window=seen.last_window, bundle=seen.manifest.ref)
        self._books.decide("ask", "fleet", seen.decision.verdict, seen.decision.reason, seen.evidence)
        story = self._tell_of_devices(story, seen)
        if seen.skew.is_severe:
            story = self._tell_once(
                story, "skew", "fleet", f"The input of the fleet is not usable: {seen.skew.reason}.", seen.skew
            )
        else:
            story = _over(story, "skew", "fleet")
            if seen.decision.verdict == "ask":
                self._ask(story, seen)
                return
        self._books.save(story)

    def _run_when_due(self, story: Story, labels: int) -> bool:
        """Begin a run that the project's triggers want, so many labelled rows being new; tell whether one began.

        Triggers that came while a story went on are due when it has ended: all of them together, and once.
        """
        bundle, triggers = self._bundle_of_fleet(), self._loaded.project.triggers
        if bundle is None or (triggers.schedule is None and not triggers.new_labels):
            return False
        now_s = self._around.clock.utc_s()
        due = find_due(triggers, since_utc_s=story.ran_utc_s, now_utc_s=now_s, labels=labels)
        if due is None:
            return False
        story = replace(
            story,
            number=story.number + 1,
            began_utc_s=now_s,
            onset_utc_s=0.0,
            bundle=bundle,
            trigger=due.trigger,
            reason=due.reason,
        )
        found = labelled_rows(self._store, bundle.name, self._around.manifest_of, now_utc_s=now_s)
        self._start_run(story, found, Happening.TRIGGERED)
        return True

    def _count_labels(self, story: Story) -> tuple[Story, int]:
        """Return how many labelled rows came since the last run; where they cannot be counted, people are told once."""
        bundle = self._bundle_of_fleet()
        if bundle is None or not self._loaded.project.triggers.new_labels:
            return story, 0
        of_fleet = count_labels(self._store, bundle.name, since_utc_s=story.ran_utc_s)
        told = story
        try:
            found = self._around.count_rows(of_fleet)
            if found is not None:
                told = _over(story, "source_failed", "fleet")
        except DataError as error:
            # A run would break off for the same reason; the schedule and a loss begin one all the same.
            found, text = 0, f"New labelled rows cannot be counted: {error}"
            told = self._tell_once(story, "source_failed", "fleet", text, {"error": str(error)})
        if told != story:
            self._books.save(told)
        return told, found or 0

    def _ask(self, story: Story, seen: Watch) -> None:
        story = replace(
            story,
            number=story.number + 1,
            began_utc_s=self._around.clock.utc_s(),
            onset_utc_s=seen.onset_utc_s,
            round=0,
            trigger="deterioration",
            reason=seen.decision.reason,
        )
        story = self._books.turn(
            story,
            Happening.SIGN,
            f"Asking {len(seen.online)} devices for {seen.decision.rows} labels: {seen.decision.reason}.",
            seen.evidence,
        )
        self._ensure_asked(story, seen.manifest)

    def _ensure_asked(self, story: Story, manifest: Manifest) -> None:
        # All at random, as only such rows can confirm; twice what the test needs, for not every row gets its label.
        rows = 2 * self._monitoring.ask_labels
        self._asking.ensure(story.ask_id, rows, self._online(manifest.ref), manifest)

    def _look(self, story: Story) -> Watch | None:
        """Look at the latest windows of what the fleet runs; None when there is nothing to judge."""
        bundle = self._bundle_of_fleet()
        manifest = None if bundle is None else self._around.manifest_of(bundle)
        if manifest is None:
            return None
        return watch_fleet(
            self._store,
            manifest,
            self._monitoring,
            after_window=story.entered_window,
            after_sample=story.entered_sample,
        )

    def _tell_of_devices(self, story: Story, seen: Watch) -> Story:
        """Tell people about single devices that lose or send rubbish while the fleet does not; once each."""
        if seen.skew.is_severe or seen.decision.verdict == "ask":
            return story
        for alarm in seen.alarms:
            self._books.decide(alarm.kind, f"device:{alarm.device}", "alert", alarm.text, alarm.evidence)
            story = self._tell_once(story, alarm.kind, f"device:{alarm.device}", alarm.text, alarm.evidence)
        kept = {_told_key(alarm.kind, f"device:{alarm.device}") for alarm in seen.alarms}
        return replace(story, told=tuple(key for key in story.told if " device:" not in key or key in kept))

    def _tell_once(self, story: Story, kind: str, scope: str, text: str, evidence: object) -> Story:
        key = _told_key(kind, scope)
        if key in story.told:
            return story
        self._books.tell(kind, scope, text, evidence)
        return replace(story, told=(*story.told, key))

    # --- asked -------------------------------------------------------------------------------------------------------

    def _hear(self, story: Story) -> None:
        manifest = self._manifest_of_story(story)
        if manifest is None:
            return
        self._ensure_asked(story, manifest)
        samples = labelled_samples(
            self._store, manifest.ref, reasons=AT_RANDOM, after=story.entered_sample, latest=100_000
        )
        errors = errors_of(samples, manifest)
        confirmation = confirm(errors, expectation_of(manifest), self._monitoring)
        if confirmation.verdict == "undecided":
            if is_overdue(self._windows_since(story.entered_window), self._rules.label_patience_windows):
                text = f"Labels never came: {confirmation.reason}. The sign was: {story.reason}."
                self._books.tell("labels_missing", "fleet", text, confirmation)
                self._books.turn(story, Happening.LABELS_MISSING, text, confirmation)
            return
        self._judge(story, manifest, confirmation)

    def _judge(self, story: Story, manifest: Manifest, confirmation: Confirmation) -> None:
        """Confirm or clear the loss, say what changed, and judge how bad it is."""
        windows = {
            device: [stored.window for stored in its if suits(stored.window, manifest)]
            for device, its in self._latest_windows(manifest, story).items()
        }
        diagnosis = diagnose(windows, manifest, confirmation)
        skew = measure_skew([window for its in windows.values() for window in its], manifest)
        severity = judge_severity(confirmation, skew, self._monitoring)
        evidence = {"confirmation": confirmation, "severity": severity, "diagnosis": diagnosis, "sign": story.reason}
        self._books.decide("confirm", "fleet", confirmation.verdict, confirmation.reason, evidence)
        self._books.decide("severity", "fleet", severity.verdict, severity.reason, severity)
        if severity.verdict == "skew":
            text = f"People are needed, not retraining: {severity.reason}. {diagnosis.sentence}"
            self._books.tell("skew", "fleet", text, evidence)
            self._books.turn(story, Happening.SKEWED, text, evidence)
        elif severity.verdict == "none":
            self._books.turn(story, Happening.CLEARED, diagnosis.sentence, evidence)
        else:
            if severity.verdict == "collapse":
                text = f"A collapse: {severity.reason}. {diagnosis.sentence}"
                self._books.tell("collapse", "fleet", text, evidence)
            self._confirmed(story, diagnosis, evidence)

    def _confirmed(self, story: Story, diagnosis: Diagnosis, evidence: object) -> None:
        window = last_window_number(self._store)
        story = replace(
            story, reason=diagnosis.sentence, round=0, round_window=window, gathered=0, gathered_window=window
        )
        self._books.turn(story, Happening.CONFIRMED, diagnosis.sentence, evidence)

    # --- collecting --------------------------------------------------------------------------------------------------

    def _gather(self, story: Story) -> None:
        manifest = self._manifest_of_story(story)
        if manifest is None:
            return
        found = labelled_rows(
            self._store,
            manifest.name,
            self._around.manifest_of,
            now_utc_s=self._around.clock.utc_s(),
            scored_since_utc_s=story.onset_utc_s,
        )
        wanted = self._monitoring.retrain_labels
        if len(found.rows) >= wanted:
            self._start_run(story, found, Happening.GATHERED)
            return
        if len(found.rows) > story.gathered:
            story = replace(story, gathered=len(found.rows), gathered_window=last_window_number(self._store))
            self._books.save(story)
        elif is_overdue(self._windows_since(story.gathered_window), self._rules.label_patience_windows):
            facts = {"gathered": len(found.rows), "wanted": wanted, "unsuitable": found.unsuitable}
            text = f"A loss is confirmed, but labels stopped coming: {len(found.rows)} of {wanted}. {story.reason}"
            self._books.tell("labels_missing", "fleet", text, facts)
            self._books.turn(story, Happening.LABELS_MISSING, text, facts)
            return
        if story.round == 0 or is_overdue(self._windows_since(story.round_window), self._rules.round_windows):
            story = replace(story, round=story.round + 1, round_window=last_window_number(self._store))
            self._books.save(story)
        # Devices hold back whatever is over their share of labels, and send it when further rows allow it.
        self._asking.ensure(
            story.ask_id,
            wanted - len(found.rows),
            self._online(manifest.ref),
            manifest,
            self._monitoring.uncertain_share,
        )

    def _start_run(self, story: Story, found: LabelledRows, happening: Happening) -> None:
        try:
            new = push_labelled(self._loaded, found.rows)
        except DataError as error:
            text = f"{because_of(story)}, and the fleet's rows do not suit the project: {error}"
            self._books.tell("run_failed", "fleet", text, {"why": story.reason})
            self._books.turn(self._ran(story), Happening.BROKE_OFF, text, {"rows": len(found.rows)})
            return
        facts = {
            "rows": len(found.rows),
            "new": new,
            "unsuitable": found.unsuitable,
            "since": story.onset_utc_s,
            "why": story.reason,
        }
        text = f"Retraining with {len(found.rows)} labelled rows of the fleet."
        if happening is Happening.TRIGGERED:
            text = f"{text[:-1]}: {story.reason}."
        story = self._books.turn(self._ran(story), happening, text, facts)
        self._run(story)

    def _ran(self, story: Story) -> Story:
        """Return the story with a run that begins now: what triggers the next one comes after it."""
        return replace(story, new_bundle="", ran_utc_s=self._around.clock.utc_s())

    # --- running -----------------------------------------------------------------------------------------------------

    def _run(self, story: Story) -> None:
        outcome = self._around.runner.ensure(RunRequest(story.token, story.trigger, story.reason))
        if outcome is None:
            return
        self._books.decide("run", "fleet", outcome.kind, outcome.reason, outcome)
        ended = read_ending(story, outcome)
        if ended.alert:
            self._books.tell(ended.alert, "fleet", ended.text, {"outcome": outcome, "why": story.reason})
        self._books.turn(replace(story, new_bundle=outcome.bundle), ended.happening, ended.text, outcome)

    # --- rolling out -------------------------------------------------------------------------------------------------

    def _roll_out(self, story: Story) -> None:
        rollout = self.operator.load(story.token)
        if rollout is None:
            try:
                bundle = self._around.publish_bundle(Path(story.new_bundle))
            except (ExporterError, AgentError, OSError) as error:
                # Nothing was lost: publishing is tried again at every step until somebody has mended it.
                text = f"Version of {story.new_bundle} passed the gate and cannot be published: {error}"
                self._books.save(self._tell_once(story, "publish_failed", "fleet", text, {"error": str(error)}))
                return
            rollout = self.operator.start(
                bundle,
                order_id=story.token,
                by=BY,
                reason=story.reason,
                shares=self._loaded.project.rollout.rings,
                rules=self._rules.rollout,
            )
            self._books.say("rolling_out", f"Rolling out {bundle}.", {"bundle": str(bundle), "order_id": story.token})
        if (cleared := _over(story, "publish_failed", "fleet")) != story:
            story = cleared
            self._books.save(story)
        before = rollout.last_step
        rollout = self.operator.step(story.token)
        if rollout.last_step != before:
            self._books.say("rollout", f"{rollout.bundle}: {rollout.last_step}", {"state": rollout.state})
        if rollout.state == "done":
            text = f"{rollout.bundle} is on the fleet: {rollout.last_step}."
            self._books.turn(replace(story, bundle=rollout.bundle), Happening.ROLLED_OUT, text, rollout)
        elif rollout.state == "halted":
            ended = "ended" if rollout.replaced_by else "halted and taken back"
            text = (
                f"The rollout of {rollout.bundle} was {ended}: {rollout.last_step}. "
                "The registry still names it champion: see `fieldloop registry rollback`."
            )
            self._books.tell("rollout_halted", "fleet", text, rollout)
            self._books.turn(story, Happening.HALTED, text, rollout)

    # --- cooling down ------------------------------------------------------------------------------------------------

    def _cool_down(self, story: Story) -> None:
        online = self._online(self._bundle_of_fleet())
        if is_cooled(self._windows_since(story.entered_window), online, self._monitoring.cooldown_windows):
            self._books.turn(story, Happening.COOLED, "Watching again.", {"bundle": str(self._bundle_of_fleet())})

    # --- what the store says -----------------------------------------------------------------------------------------

    def _manifest_of_story(self, story: Story) -> Manifest | None:
        """Return the manifest of the bundle that is judged; give up the story when the fleet was ordered another."""
        now_running = self._bundle_of_fleet()
        if now_running is not None and story.bundle is not None and now_running != story.bundle:
            text = f"The fleet was ordered {now_running}; what was found about {story.bundle} no longer matters."
            self._books.turn(story, Happening.BUNDLE_CHANGED, text, {"from": str(story.bundle), "to": str(now_running)})
            return None
        return None if story.bundle is None else self._around.manifest_of(story.bundle)

    def _bundle_of_fleet(self) -> BundleRef | None:
        """Return what the fleet should run; before any rollout, what most of its devices run."""
        target = self.operator.target()
        if target is not None:
            return target
        running = [d.bundle for d in list_devices(self._store) if d.bundle is not None]
        return max(sorted(set(running)), key=running.count, default=None)

    def _latest_windows(self, manifest: Manifest, story: Story) -> Mapping[DeviceId, Sequence[StoredWindow]]:
        return latest_windows(self._store, manifest.ref, per_device=8, after=story.entered_window)

    def _windows_since(self, window: int) -> dict[DeviceId, int]:
        return count_windows(self._store, after=window)

    def _online(self, bundle: BundleRef | None) -> frozenset[DeviceId]:
        """Return the devices that are there and run a bundle."""
        return frozenset(d.device for d in list_devices(self._store) if d.online and d.bundle == bundle)


def _told_key(kind: str, scope: str) -> str:
    return f"{kind} {scope}"


def _over(story: Story, kind: str, scope: str) -> Story:
    """Return the story after an incident is over: people are told of the next one."""
    return replace(story, told=tuple(key for key in story.told if key != _told_key(kind, scope)))
