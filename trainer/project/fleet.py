"""What devices take, and how the fleet is watched: ``[export]``, ``[monitoring]``, ``[rollout]``, ``[alerts]``."""

from typing import Annotated

import msgspec
from msgspec import Meta

from edge_agent.bundle import TrialRules
from trainer.project.section import Positive, Section, Share


class ExportSection(Section, frozen=True, kw_only=True):
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


class MonitoringSection(Section, frozen=True, kw_only=True):
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


class RolloutSection(Section, frozen=True, kw_only=True):
    """In which shares a bundle reaches the fleet; the last ring is everybody.

    Attributes:
        rings: growing shares of the fleet; at least one device is in the first ring.
        max_failures: devices that may fail in a ring before the rollout stops and is taken back.
        trial: what a device must see of a bundle before it commits it.
    """

    rings: Annotated[tuple[Share, ...], Meta(min_length=1)] = (0.1, 1.0)
    max_failures: Annotated[int, Meta(ge=0)] = 0
    trial: TrialRules = msgspec.field(default_factory=TrialRules)


class AlertsSection(Section, frozen=True, kw_only=True):
    """Who is told: a file that gets one JSON line an alert, and a webhook that gets the same by POST."""

    file: str = "alerts.jsonl"
    webhook: str | None = None
