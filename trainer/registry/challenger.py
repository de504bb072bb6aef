"""Names the version that is compared with the champion: the stage ``challenger`` follows from what devices do.

Which devices have a version in the shadow is written down with it, so that whoever ends the last of these shadows, on
whatever machine, takes the stage away.
"""

from collections.abc import Collection
from typing import Final

from trainer.project.registry import CHALLENGER, CHAMPION
from trainer.registry.promotion import Promotion, refusal_of
from trainer.registry.registry import Registry

# Of a version: ``shadow.<device>``, with the order that put it there, and who gave it.
_SHADOW: Final = "shadow."


def name_challenger(
    registry: Registry, name: str, version: int, *, by: str, device: str = "", order_id: str = ""
) -> Promotion | None:
    """Make a version that begins to score beside the champion the challenger.

    What the gate refused or has not judged stays what it is, and so does the champion itself: people may look at either
    in the shadow. Where the project wants a person to approve a challenger, only `Registry.promote` names one.

    Args:
        registry: that holds it, or not: a bundle may be of a version that it does not know.
        name: of the model.
        version: whose bundle devices take into the shadow.
        by: who ordered that.
        device: that takes it; what it had in the shadow before, it has no more.
        order_id: by which it does, as its events name it.

    Returns:
        The promotion; None: nothing changed.

    Raises:
        RegistryError: the store does not answer.
        BusyError: another promotion of this model takes too long.
    """
    stages = registry.stages
    model = next((model for model in registry.versions(name) if model.version == version), None)
    if device:
        _leave(registry, name, device, but=version)
        if model is not None:
            registry.tag(name, version, {f"{_SHADOW}{device}": f"{order_id} by {by}"})
    if model is None or stages.alias_of(CHAMPION) in model.aliases or CHALLENGER in stages.approval:
        return None
    gate = model.tags.get("gate", "")
    if refusal_of(gate, by, CHALLENGER, stages, "") is not None:
        return None
    return registry.promote(name, version, stage=CHALLENGER, by=by)


def end_challenger(registry: Registry, name: str, device: str) -> tuple[int, ...]:
    """Write down that a device has nothing in the shadow any more; what no device has there is no challenger.

    Args:
        registry: that knows which devices have which version.
        name: of the model.
        device: whose shadow has ended.

    Returns:
        The versions that are challenger no more.

    Raises:
        RegistryError: the store does not answer.
        BusyError: a promotion of this model takes too long.
    """
    return _leave(registry, name, device, but=0)


def end_shadows(registry: Registry, name: str, ended: Collection[tuple[str, str]]) -> tuple[int, ...]:
    """Write down which shadows have ended, each by its device and the order that began it; as `end_challenger`."""
    found: list[int] = []
    for model in registry.versions(name):
        for key, text in model.tags.items():
            device = key.removeprefix(_SHADOW)
            if key != device and (device, text.partition(" ")[0]) in ended:
                found += _leave(registry, name, device, but=0)
    return tuple(found)


def _leave(registry: Registry, name: str, device: str, *, but: int) -> tuple[int, ...]:
    ended = []
    for model in registry.versions(name):
        tag = f"{_SHADOW}{device}"
        if tag not in model.tags or model.version == but:
            continue
        registry.untag(name, model.version, tag)
        is_elsewhere = any(key.startswith(_SHADOW) for key in model.tags if key != tag)
        if not is_elsewhere and registry.withdraw(name, model.version, stage=CHALLENGER):
            ended.append(model.version)
    return tuple(ended)
