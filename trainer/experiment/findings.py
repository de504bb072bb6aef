"""What a person should look at first: one sentence each, the gravest first. Pure decisions over what was measured."""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from trainer.experiment.data_analysis import DataAnalysis
from trainer.experiment.leakage import ColumnAlone
from trainer.experiment.model_analysis import ModelAnalysis
from trainer.features.guess import LeftOut

_MUCH_MISSING: Final = 0.2
_RARE_LABEL: Final = 0.05
_MANY_DOUBLES: Final = 0.05
_NEARLY_ALIKE: Final = 0.98
_MISCALIBRATED: Final = 0.1
_OVERFITTED: Final = 0.1
# Interquartile ranges between a value and the nearer quartile; of a normal sample hardly one lies beyond 4.
_FAR: Final = 15.0
_TOLD: Final = 3

Grade = Literal["grave", "look", "good"]


class Finding(Struct, frozen=True):
    """One thing to look at, or to be glad of."""

    grade: Grade
    kind: str
    text: str


def findings_of(
    data: DataAnalysis, columns: Sequence[ColumnAlone], model: ModelAnalysis, left_out: Sequence[LeftOut]
) -> tuple[Finding, ...]:
    """Decide what to tell."""
    found = [*_leaks(columns), *_quality(model), *_drift(data), *_values(data), *_weak_spots(model)]
    if left_out:
        names = ", ".join(f"{column.name} ({column.reason})" for column in left_out[:_TOLD])
        found.append(Finding("look", "left out", f"Columns that are no inputs: {names}{_more(len(left_out))}."))
    order = {"grave": 0, "look": 1, "good": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.grade]))


def _leaks(columns: Sequence[ColumnAlone]) -> list[Finding]:
    return [
        Finding(
            "grave",
            "leakage",
            f"{column.name} may leak the target: {column.hint}. Is it known when a device must answer? "
            f"If not: --leave-out {column.name}",
        )
        for column in columns
        if column.hint
    ]


def _quality(model: ModelAnalysis) -> list[Finding]:
    overall = model.overall
    if not model.is_labelled:
        text = (
            f"No row is labelled: how good the detector is cannot be said. It alarms on {1 - overall.value:.1%} of "
            f"{model.rows:,} rows it never saw (95 %: {1 - overall.high:.1%} to {1 - overall.low:.1%})."
        )
        return [Finding("look", "quality", text)]
    interval = f"{overall.value:.3f} (95 %: {overall.low:.3f} to {overall.high:.3f})"
    found = []
    if overall.low > model.constant:
        text = (
            f"The model has {model.metric} {interval} on {model.rows:,} rows it never saw; "
            f"a constant answer has {model.constant:.3f}."
        )
        found.append(Finding("good", "quality", text))
    else:
        text = (
            f"The model is not better than a constant answer beyond chance: "
            f"{model.metric} {interval} against {model.constant:.3f}."
        )
        found.append(Finding("grave", "quality", text))
    gap = model.train_quality - overall.value
    if model.metric != "mae" and gap > _OVERFITTED:
        text = (
            f"On the rows it was trained on it has {model.train_quality:.3f}, {gap:.3f} more: "
            "it remembers, or time has moved on."
        )
        found.append(Finding("look", "overfitting", text))
    return found


def _drift(data: DataAnalysis) -> list[Finding]:
    *inputs, target = data.drift
    moved = sorted((item for item in inputs if item.drifts), key=lambda item: -max(item.indices))
    found = []
    if moved:
        names = ", ".join(f"{item.name} (PSI {max(item.indices):.2f})" for item in moved[:_TOLD])
        found.append(Finding("look", "drift", f"Inputs that move with time: {names}{_more(len(moved))}."))
    if target.drifts:
        found.append(
            Finding(
                "look",
                "drift",
                f"The target {target.name} moves with time (PSI {max(target.indices):.2f}): judge by late rows.",
            )
        )
    return found


def _values(data: DataAnalysis) -> list[Finding]:
    found = []
    gaps = [item for item in data.features if item.missing > _MUCH_MISSING * item.rows]
    if gaps:
        names = ", ".join(f"{item.name} ({item.missing / item.rows:.0%})" for item in gaps[:_TOLD])
        found.append(Finding("look", "missing", f"Inputs with many gaps: {names}{_more(len(gaps))}."))
    rare = [
        (label, count)
        for label, count in zip(data.target.labels, data.target.counts, strict=False)
        # A label of no row is none that anybody could weigh: rows without labels have one.
        if 0 < count < _RARE_LABEL * data.rows
    ]
    if rare:
        names = ", ".join(f"{label} ({count:,} rows)" for label, count in rare[:_TOLD])
        found.append(
            Finding(
                "look", "balance", f"Rare labels: {names}{_more(len(rare))}. Consider the metric balanced_accuracy."
            )
        )
    far = [item for item in data.features if item.farthest >= _FAR]
    if far:
        names = ", ".join(f"{item.name} (up to {item.farthest:.0f} spreads away)" for item in far[:_TOLD])
        found.append(
            Finding("look", "outliers", f"Values far from all others, as of a broken sensor: {names}{_more(len(far))}.")
        )
    if data.doubles > _MANY_DOUBLES * data.rows:
        found.append(
            Finding(
                "look", "doubles", f"{data.doubles:,} rows repeat an earlier one: the same row may train and judge."
            )
        )
    alike = [pair for pair in data.notable_pairs if abs(pair.correlation) >= _NEARLY_ALIKE]
    if alike:
        names = ", ".join(f"{pair.first} and {pair.second} ({pair.correlation:+.2f})" for pair in alike[:_TOLD])
        found.append(Finding("look", "correlation", f"Inputs that say the same: {names}{_more(len(alike))}."))
    return found


def _weak_spots(model: ModelAnalysis) -> list[Finding]:
    found = []
    weak = sorted(
        (part for part in model.slices if part.is_worse_than(model.overall_of_slices)),
        key=lambda part: part.quality.value,
    )
    if weak:
        names = ", ".join(f"{part.group} {part.name} ({abs(part.quality.value):.3g})" for part in weak[:_TOLD])
        found.append(
            Finding(
                "look",
                "slices",
                f"Slices that are worse than the whole ({model.slice_metric} {abs(model.overall_of_slices):.3g}) "
                f"beyond chance: {names}{_more(len(weak))}.",
            )
        )
    if model.calibration_error > _MISCALIBRATED:
        found.append(
            Finding(
                "look",
                "calibration",
                f"Probabilities are {model.calibration_error:.2f} off on average: do not read them as shares.",
            )
        )
    return found


def _more(number: int) -> str:
    return f" and {number - _TOLD} more" if number > _TOLD else ""
