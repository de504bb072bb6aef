"""Looks at a fleet for signs of a loss: gathers the evidence from the store and lets the pure parts judge it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from broker.messages import TelemetryWindow
from broker.topics import DeviceId
from edge_agent.bundle import Manifest
from trainer.monitoring.diagnosis import diagnose
from trainer.monitoring.fleet import (
    StoredWindow,
    last_window_number,
    latest_windows,
    list_devices,
    totals_of_devices,
)
from trainer.monitoring.outcomes import AT_RANDOM, BACKGROUND, LabelledSample, errors_of, labelled_samples
from trainer.monitoring.quality import Expectation, estimate_quality, expectation_of, suits
from trainer.monitoring.severity import Skew, measure_skew
from trainer.monitoring.significance import greater_error_p
from trainer.monitoring.signs import AskDecision, decide_ask, judge_background, label_budget
from trainer.monitoring.store import Store
from trainer.project.fleet import MonitoringSection

# The estimate looks at two windows of each device, or at more where they hold few rows.
_WINDOWS, _MOST_WINDOWS, _ENOUGH_ROWS = 2, 8, 200


class DeviceAlarm(Struct, frozen=True):
    """A single device of which people should know."""

    kind: str
    device: DeviceId
    text: str
    evidence: Any


class Watch(Struct, frozen=True):
    """What was seen.

    Attributes:
        windows: by device, the latest that suit the manifest.
        unsuitable: windows of the bundle that have not its shapes.
        online: devices that are there and run the bundle.
        last_window: number of the last stored window.
        onset_utc_s: the earliest time of what the decision rests on.
    """

    manifest: Manifest
    windows: Mapping[DeviceId, tuple[StoredWindow, ...]]
    unsuitable: int
    decision: AskDecision
    skew: Skew
    alarms: tuple[DeviceAlarm, ...]
    online: frozenset[DeviceId]
    last_window: int
    onset_utc_s: float

    def is_new_round(self, judged_window: int) -> bool:
        """Tell whether as many windows came since as there are devices: judging more often finds signs by chance."""
        new = sum(window.number > judged_window for its in self.windows.values() for window in its)
        return new >= max(1, len(self.windows))

    @property
    def evidence(self) -> dict[str, object]:
        """What the decision rests on, as it is written down."""
        return {
            "bundle": str(self.manifest.ref),
            "decision": self.decision,
            "skew": self.skew,
            "windows": {device: [w.number for w in its] for device, its in self.windows.items()},
            "unsuitable_windows": self.unsuitable,
            "onset_utc_s": self.onset_utc_s,
        }


def watch_fleet(
    store: Store, manifest: Manifest, rules: MonitoringSection, *, after_window: int, after_sample: int
) -> Watch:
    """Look at the latest windows and labels of a bundle.

    Args:
        store: to read from.
        manifest: of the bundle that the fleet runs.
        rules: of the project.
        after_window: only windows with a greater number count.
        after_sample: only labels of samples with a greater number count.
    """
    states = list_devices(store)
    last = last_window_number(store)
    # Devices that have been gone for long say nothing about now.
    recent = last - 8 * _MOST_WINDOWS * max(1, len(states))
    stored = latest_windows(store, manifest.ref, per_device=_MOST_WINDOWS, after=max(after_window, recent))
    suiting = {d: tuple(w for w in its if suits(w.window, manifest)) for d, its in stored.items()}
    unsuitable = sum(map(len, stored.values())) - sum(map(len, suiting.values()))
    windows = _cut({device: its for device, its in suiting.items() if its})
    bodies = [window.window for its in windows.values() for window in its]

    expectation = expectation_of(manifest)
    samples = labelled_samples(
        store, manifest.ref, reasons=(BACKGROUND,), latest=rules.background_labels, after=after_sample
    )
    background = judge_background(errors_of(samples, manifest), expectation, rules)
    totals = totals_of_devices(store)
    budget = sum(label_budget(t.rows_scored, t.samples, rules.max_label_share) for t in totals.values())
    decision = decide_ask(
        estimate=estimate_quality(bodies, manifest),
        background=background,
        cooling_down=False,
        # Devices choose only half of the rows that they are asked for at random, and only those can confirm.
        budget=budget // 2,
        rules=rules,
    )
    is_background = background is not None and background.p < rules.background_p
    return Watch(
        manifest=manifest,
        windows=windows,
        unsuitable=unsuitable,
        decision=decision,
        skew=measure_skew(bodies, manifest),
        alarms=_alarms(store, manifest, rules, windows, after_sample),
        online=frozenset(s.device for s in states if s.online and s.bundle == manifest.ref),
        last_window=last,
        onset_utc_s=_onset(bodies, samples if is_background else ()),
    )


def _cut(windows: Mapping[DeviceId, tuple[StoredWindow, ...]]) -> dict[DeviceId, tuple[StoredWindow, ...]]:
    """Return the latest windows of each device: as few as hold enough rows, but at least two."""
    for count in range(_WINDOWS, _MOST_WINDOWS + 1):
        cut = {device: its[-count:] for device, its in windows.items()}
        if sum(w.window.rows_scored for its in cut.values() for w in its) >= _ENOUGH_ROWS:
            return cut
    return dict(windows)


def _onset(windows: Sequence[TelemetryWindow], samples: Sequence[LabelledSample]) -> float:
    """Return since when rows may show the loss: the start of the windows or labels that gave the sign."""
    times = [w.started_utc_s for w in windows] + [s.scored_utc_s for s in samples]
    return min(times, default=0.0)


def _alarms(
    store: Store,
    manifest: Manifest,
    rules: MonitoringSection,
    windows: Mapping[DeviceId, tuple[StoredWindow, ...]],
    after_sample: int,
) -> tuple[DeviceAlarm, ...]:
    """Return the devices whose own input or labels are bad; none where there is only one device."""
    if len(windows) < 2:  # noqa: PLR2004 - a single device is the fleet
        return ()
    alarms = []
    expectation = expectation_of(manifest)
    for device, its in sorted(windows.items()):
        bodies = [window.window for window in its]
        skew = measure_skew(bodies, manifest)
        if skew.is_severe:
            text = f"The input of device {device} is not usable: {skew.reason}."
            alarms.append(DeviceAlarm("device_skew", device, text, skew))
            continue
        samples = labelled_samples(
            store,
            manifest.ref,
            reasons=AT_RANDOM,
            latest=rules.background_labels,
            after=after_sample,
            device=device,
        )
        errors = errors_of(samples, manifest)
        # Many devices are tested: one of them would look bad by chance.
        if _is_losing(errors, expectation, rules, len(windows)):
            diagnosis = diagnose({device: bodies}, manifest)
            mean = math.fsum(errors) / len(errors)
            text = (
                f"Device {device} loses, the fleet does not: error {mean:.3g} on {len(errors)} labels,"
                f" {expectation.error:.3g} is usual. {diagnosis.sentence}"
            )
            alarms.append(DeviceAlarm("device_loss", device, text, {"errors": errors, "diagnosis": diagnosis}))
    return tuple(alarms)


def _is_losing(errors: Sequence[float], expectation: Expectation, rules: MonitoringSection, n_devices: int) -> bool:
    if len(errors) < rules.ask_labels // 2:
        return False
    tolerated = expectation.tolerated(rules.confirm_margin)
    return greater_error_p(expectation.task, errors, tolerated) < rules.background_p / n_devices
