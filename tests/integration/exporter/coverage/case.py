"""One row of the coverage table."""

from dataclasses import dataclass

from exporter.models.model import FittedModel, Rows


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Attributes:
        group: heading that it stands under.
        name: of the family; unique within its group.
        rows: ``(n, n_features) float32``: the model was not trained on them.
    """

    group: str
    name: str
    model: FittedModel
    rows: Rows
