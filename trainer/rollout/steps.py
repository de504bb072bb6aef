"""Decides the next step of a rollout from what devices proved. Pure: same progress, same step.

Rules:
- A ring is ordered as a whole, once the rings before it are finished.
- A ring is finished when each of its devices has committed, failed, or is excused; and at least one device of the
  rollout has committed: a bundle that nobody has proved goes no further.
- A device is excused when it is offline, or has been silent for `patience_s`, since its order was sent. The order stays
  retained at the broker, so that it updates when it comes back; what it says then still counts while the rollout runs.
  An order that waits for a link excuses nobody: its device cannot know of it.
- When a ring has nobody but excused devices and nothing is proved, the next device that is online stands in for it.
- More than `max_failures` failures in one ring halt the rollout, and every device that was ordered is ordered back.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from broker.topics import DeviceId

PENDING, COMMITTED, FAILED = "pending", "committed", "failed"


class DeviceProgress(Struct, frozen=True):
    """What is known of one device under this order.

    Attributes:
        outcome: ``pending``, ``committed`` or ``failed``.
        reason: why it failed.
        ordered_utc_s: when its order was written down; None: not ordered yet.
        sent_utc_s: when the broker had it; None: not yet.
    """

    outcome: str
    online: bool
    ordered_utc_s: float | None
    sent_utc_s: float | None
    reason: str = ""


class RolloutRules(Struct, frozen=True):
    """How careful a rollout is; see the module's rules."""

    max_failures: int = 0
    patience_s: float = 900.0


class Step(Struct, frozen=True):
    """What to do next.

    Attributes:
        kind: ``order`` (these devices), ``wait``, ``halt`` (take back from these devices) or ``done``.
        ring: that is being worked on.
    """

    kind: str
    ring: int
    devices: tuple[DeviceId, ...]
    reason: str


def next_step(
    rings: Sequence[Sequence[DeviceId]],
    progress: Mapping[DeviceId, DeviceProgress],
    rules: RolloutRules,
    now_utc_s: float,
) -> Step:
    """Return the next step.

    Args:
        rings: the devices of each ring; all of them are in ``progress``.
        progress: what is known of each.
        rules: see the module's text.
        now_utc_s: by the clock of ``DeviceProgress.sent_utc_s``.
    """
    ordered = [d for ring in rings for d in ring if progress[d].ordered_utc_s is not None]
    for number, ring in enumerate(rings):
        failures = [d for d in ring if progress[d].outcome == FAILED]
        if len(failures) > rules.max_failures:
            told = "; ".join(f"{d}: {progress[d].reason}" for d in failures[:3])
            reason = f"{len(failures)} of {len(ring)} devices of ring {number + 1} failed ({told})"
            return Step("halt", number, tuple(ordered), reason)
    proofs = sum(progress[d].outcome == COMMITTED for d in progress)
    for number, ring in enumerate(rings):
        unordered = tuple(d for d in ring if progress[d].ordered_utc_s is None and progress[d].outcome == PENDING)
        if unordered:
            return Step("order", number, unordered, f"ring {number + 1} of {len(rings)}")
        waiting = [d for d in ring if not _is_finished(progress[d], rules, now_utc_s)]
        if waiting:
            return Step("wait", number, tuple(waiting), f"ring {number + 1}: waiting for {_named(waiting)}")
        if ring and proofs == 0:
            return _step_without_proof(rings, number, progress, rules, now_utc_s)
    excused = [d for d in ordered if progress[d].outcome == PENDING]
    left = f"; {len(excused)} away, their orders wait for them: {_named(excused)}" if excused else ""
    return Step("done", max(0, len(rings) - 1), (), f"{proofs} devices committed{left}")


def _step_without_proof(
    rings: Sequence[Sequence[DeviceId]],
    number: int,
    progress: Mapping[DeviceId, DeviceProgress],
    rules: RolloutRules,
    now_utc_s: float,
) -> Step:
    """Find one device that can prove the bundle when all that were ordered are away."""
    later = [d for ring in rings[number + 1 :] for d in ring]
    trying = [d for d in later if progress[d].ordered_utc_s is not None]
    waiting = [d for d in trying if not _is_finished(progress[d], rules, now_utc_s)]
    if waiting:
        return Step("wait", number, tuple(waiting), f"waiting for {_named(waiting)}, standing in for absent devices")
    for device in later:
        if progress[device].ordered_utc_s is None and progress[device].online:
            return Step("order", number, (device,), f"{device} stands in: nobody of ring {number + 1} is there")
    return Step("wait", number, (), "no device has proved the bundle yet, and none is there to try")


def _is_finished(progress: DeviceProgress, rules: RolloutRules, now_utc_s: float) -> bool:
    if progress.outcome != PENDING:
        return True
    if progress.sent_utc_s is None:
        return False
    return not progress.online or now_utc_s - progress.sent_utc_s > rules.patience_s


def _named(devices: Sequence[DeviceId]) -> str:
    named = ", ".join(devices[:5])
    return f"{named} and {len(devices) - 5} more" if len(devices) > 5 else named  # noqa: PLR2004
