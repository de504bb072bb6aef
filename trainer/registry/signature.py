"""A model's inputs and outputs in MLflow's own form, so that MLflow's page and its tools show them.

Written by hand: MLflow's own writer takes seconds to import, and the form is a page of YAML, of which JSON is a part.
"""

import json
from collections.abc import Sequence
from typing import Final

from edge_agent.bundle import Feature
from trainer.errors import RegistryError

MLMODEL_NAME: Final = "MLmodel"
_TYPES: Final = {"float32": "float", "category": "string"}


def mlmodel_text(
    features: Sequence[Feature], outputs: Sequence[str], *, run_id: str, created: str, facts: dict[str, str]
) -> str:
    """Return the file that stands beside a model's own in MLflow.

    Args:
        features: the model's inputs, in order.
        outputs: name of each number that it answers: the labels, or what is predicted.
        run_id: of the run that made it.
        created: UTC, as ISO 8601 writes it.
        facts: what else who loads it must know.

    Raises:
        RegistryError: a feature of a type that MLflow has no word for.
    """
    inputs = []
    for feature in features:
        if feature.dtype not in _TYPES:
            raise RegistryError(f"feature {feature.name!r}: MLflow has no type for {feature.dtype}")
        required = feature.on_missing == "refuse"
        inputs.append({"type": _TYPES[feature.dtype], "name": feature.name, "required": required})
    answers = [{"type": "double", "name": name, "required": True} for name in outputs]
    lines = {
        # Read by `exporter.models.model_file`; it is no pickle, and nothing of it is executed.
        "flavors": {"fieldloop": {"model": "model.skops", "format": "skops", **facts}},
        "run_id": run_id,
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(answers), "params": None},
        "utc_time_created": created,
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())
