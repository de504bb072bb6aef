"""Decides how bad it is, and so who mends it: the loop alone, the loop with people told, or people alone. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from broker.messages import TelemetryWindow
from edge_agent.bundle import Manifest
from trainer.monitoring.confirmation import Confirmation
from trainer.project.fleet import MonitoringSection

# More than half of the rows without a usable value of a feature is a sensor or a cable, not a change of the world.
_SKEW_SHARE = 0.5
# Rows that the schema refuses never reach the model: retraining cannot bring them back.
_REFUSED_SHARE = 0.2


class Skew(Struct, frozen=True):
    """What of the input is not usable.

    Attributes:
        refused_share: rows refused by the schema, of all rows read.
        features: (name, missing or out-of-range share beyond the usual) of features that are mostly unusable.
    """

    rows: int
    refused_share: float
    features: tuple[tuple[str, float], ...]

    @property
    def is_severe(self) -> bool:
        """Whether people must look at the input."""
        return self.refused_share > _REFUSED_SHARE or bool(self.features)

    @property
    def reason(self) -> str:
        """Say it in one sentence."""
        parts = []
        if self.refused_share > _REFUSED_SHARE:
            parts.append(f"{self.refused_share:.0%} of {self.rows} rows are refused by the schema")
        if self.features:
            named = ", ".join(f"{name} ({share:.0%})" for name, share in self.features[:5])
            parts.append(f"mostly missing or out of range: {named}")
        return "; ".join(parts) or "the input is usable"


class Severity(Struct, frozen=True):
    """How bad it is.

    Attributes:
        verdict: ``none``; ``mild``: retrain; ``collapse``: retrain and tell people; ``skew``: tell people, and do not
            retrain.
    """

    verdict: str
    reason: str
    skew: Skew


def measure_skew(windows: Sequence[TelemetryWindow], manifest: Manifest) -> Skew:
    """Measure how much of the input of windows of one bundle was unusable."""
    scored = sum(window.rows_scored for window in windows)
    refused = sum(rows for window in windows for _, rows in window.rows_refused)
    read = scored + refused
    features = []
    for index, feature in enumerate(manifest.features):
        reference = manifest.references[index]
        usual_rows = sum(sum(block) for block in reference.blocks) + reference.missing
        usual = reference.missing / usual_rows if usual_rows else 0.0
        unusable = sum(w.features[index].missing + w.features[index].out_of_range for w in windows)
        share = (unusable / read if read else 0.0) - usual
        if share > _SKEW_SHARE:
            features.append((feature.name, share))
    features.sort(key=lambda pair: (-pair[1], pair[0]))
    return Skew(read, refused / read if read else 0.0, tuple(features))


def judge_severity(confirmation: Confirmation | None, skew: Skew, rules: MonitoringSection) -> Severity:
    """Judge how bad it is; unusable input comes first, whatever the labels say."""
    if skew.is_severe:
        return Severity("skew", skew.reason, skew)
    if confirmation is None or confirmation.verdict != "confirmed":
        return Severity("none", "no loss is confirmed", skew)
    if confirmation.task != "classification":
        loss, limit = f"a rise of the error by {confirmation.loss * 100:.0f} %", f"{rules.collapse_loss * 100:.0f} %"
    else:
        loss, limit = f"a loss of {confirmation.loss:.2f}", str(rules.collapse_loss)
    if confirmation.loss >= rules.collapse_loss:
        return Severity("collapse", f"{loss} is at least {limit}", skew)
    return Severity("mild", f"{loss} is below {limit}", skew)
