"""Decides whether a changed view may take the place of the one before: what its users rely on must stay."""

from collections.abc import Sequence

from trainer.features.views.view import FeatureView


def refused_changes(before: FeatureView, after: FeatureView) -> tuple[str, ...]:
    """Return what users of the view would break by; empty: the change is a new version.

    Features may be added, and everything said about them may change, but never what a name stands for.
    """
    problems = []
    old_keys = [(entity.key, entity.dtype) for entity in before.entities]
    new_keys = [(entity.key, entity.dtype) for entity in after.entities]
    if old_keys != new_keys:
        problems.append(f"its keys were {_spoken(old_keys)}, and would be {_spoken(new_keys)}")
    new = {feature.name: feature for feature in after.features}
    for feature in before.features:
        now = new.get(feature.name)
        if now is None:
            problems.append(f"the feature {feature.name!r} would be gone")
            continue
        if now.dtype != feature.dtype:
            problems.append(f"the feature {feature.name!r} was {feature.dtype}, and would be {now.dtype}")
        if now.unit != feature.unit:
            problems.append(f"the feature {feature.name!r} was in {feature.unit!r}, and would be in {now.unit!r}")
    return tuple(problems)


def _spoken(keys: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{key} ({dtype})" for key, dtype in keys)
