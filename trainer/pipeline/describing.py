"""Describes a version in the registry before anybody may follow it: its signature and its card, as artefacts."""

from datetime import UTC, datetime
from pathlib import Path

from edge_agent.durable import replace_file
from trainer.pipeline.card import CARD_NAME, card_markdown, card_text, load_facts
from trainer.registry.registry import MODEL_PLACE, Registry
from trainer.registry.signature import MLMODEL_NAME, mlmodel_text


def describe_version(registry: Registry, name: str, version: int, run_folder: Path, folder: Path) -> None:
    """Write a version's signature and card from what its run recorded, and store them with it.

    Args:
        registry: that holds it.
        name: of the model.
        version: of it.
        run_folder: of its run; the steps up to the gate are finished.
        folder: for the two files.
    """
    facts = load_facts(run_folder, version)
    text = mlmodel_text(
        facts.features,
        facts.report.labels or ("prediction",),
        run_id=facts.head.run_id,
        created=datetime.fromtimestamp(facts.head.as_of_utc_s, UTC).replace(tzinfo=None).isoformat(sep=" "),
        facts={"metric": facts.report.metric},
    )
    replace_file(folder / MLMODEL_NAME, text.encode())
    replace_file(folder / CARD_NAME, card_markdown(facts).encode())
    registry.attach(name, version, [folder / MLMODEL_NAME], MODEL_PLACE)
    registry.keep(facts.head.run_id, run_folder, [folder / CARD_NAME])
    registry.describe(name, version, card_text(facts))
