"""The section ``[signal]`` of a project: its data are raw readings, and a model's row is made of a window of them.

What the devices must know of it goes into the bundle's manifest as `edge_agent.raw_signal.Signal`; the rest says how
training finds recordings and labels.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, UnsetType

from edge_agent.bundle import Feature
from edge_agent.raw_signal import BAND_ENERGY, UNITLESS, Signal, names_of, signal_problems

Rule = Literal["last", "majority", "unanimous", "mean"]


class SignalSection(Signal, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How raw readings become the rows that the model learns from; devices do the same.

    Attributes:
        recording: column that names the recording of a reading: no window reaches from one into another. Neither does
            one reach from file to file, or from one entity to another.
        label: what a window is labelled with: the label of its ``last`` reading; the one that most of its readings
            have (``majority``; of equally many, that of the later reading); its only one (``unanimous``: a window with
            several is left out); of a regression, ``last`` or ``mean``.
    """

    recording: str | None = None
    label: Rule = "last"

    @property
    def declared(self) -> Signal:
        """What a device must know."""
        return Signal(**{name: getattr(self, name) for name in Signal.__struct_fields__})


def declared_in(section: SignalSection | None) -> Signal | UnsetType:
    """Return what a manifest says of the signal."""
    return UNSET if section is None else section.declared


def features_of(section: SignalSection, given: Sequence[Feature]) -> tuple[Feature, ...]:
    """Return the model's inputs: those that a window gives, described as ``given`` where that names them."""
    described = {feature.name: feature for feature in given}
    return tuple(
        described.get(name, Feature(name, unit=_unit(channel.unit, statistic)))
        for channel in section.channels
        for name, statistic in names_of(channel, section.bands)
    )


def problems_of_section(
    section: SignalSection, given: Sequence[Feature], *, is_regression: bool, not_channels: Sequence[str]
) -> list[str]:
    """List what contradicts itself.

    Args:
        section: the section.
        given: features that the project describes.
        is_regression: whether a value is learnt.
        not_channels: columns that a model must not see.
    """
    problems = [f"key 'signal': {problem}" for problem in signal_problems(section)]
    made = {name for channel in section.channels for name, _ in names_of(channel, section.bands)}
    problems += [
        f"key 'features': {feature.name!r} is no feature of a window; there are {', '.join(sorted(made))[:300]}"
        for feature in given
        if feature.name not in made
    ]
    problems += [
        f"key 'features': {feature.name!r} is a number, and no category"
        for feature in given
        if feature.dtype == "category"
    ]
    problems += [
        f"key 'signal.channels': {channel.name!r} is not for the model to see: it says what a reading is of"
        for channel in section.channels
        if channel.name in (*not_channels, section.recording)
    ]
    if is_regression and section.label in {"majority", "unanimous"}:
        problems.append(f"key 'signal.label': {section.label!r} is of names; a regression takes 'last' or 'mean'")
    if not is_regression and section.label == "mean":
        problems.append("key 'signal.label': 'mean' is of numbers; a classification takes 'last' or 'majority'")
    return problems


def _unit(unit: str, statistic: str) -> str:
    if statistic in UNITLESS or not unit:
        return ""
    return f"({unit})²" if statistic == BAND_ENERGY else unit
