"""Names the version that is compared with the champion: the stage ``challenger`` follows from what devices do."""

from trainer.project.registry import CHALLENGER, CHAMPION
from trainer.registry.promotion import Promotion, refusal_of
from trainer.registry.registry import Registry


def name_challenger(registry: Registry, name: str, version: int, *, by: str) -> Promotion | None:
    """Make a version that begins to score beside the champion the challenger.

    What the gate refused or has not judged stays what it is, and so does the champion itself: people may look at either
    in the shadow. Where the project wants a person to approve a challenger, only `Registry.promote` names one.

    Args:
        registry: that holds it, or not: a bundle may be of a version that it does not know.
        name: of the model.
        version: whose bundle devices take into the shadow.
        by: who ordered that.

    Returns:
        The promotion; None: nothing changed.

    Raises:
        RegistryError: the store does not answer.
        BusyError: another promotion of this model takes too long.
    """
    stages = registry.stages
    model = next((model for model in registry.versions(name) if model.version == version), None)
    if model is None or stages.alias_of(CHAMPION) in model.aliases or CHALLENGER in stages.approval:
        return None
    gate = model.tags.get("gate", "")
    if refusal_of(gate, by, CHALLENGER, stages, "") is not None:
        return None
    return registry.promote(name, version, stage=CHALLENGER, by=by)
