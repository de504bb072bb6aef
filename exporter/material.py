"""What a target makes a variant from: the fitted model, real rows, and the model as a program, read once for all."""

from functools import cached_property

from exporter.models.model import FittedModel, Rows
from exporter.programs.centring import centred
from exporter.programs.folding import fold_into_thresholds
from exporter.programs.program import Program
from exporter.reading.models import read_model


class Material:
    """One model on its way into several variants.

    Attributes:
        model: it is not changed.
        calibration: ``(n, n_features) float32`` real rows that set the ranges of quantised variants.
    """

    def __init__(self, model: FittedModel, calibration: Rows) -> None:
        self.model = model
        self.calibration = calibration

    @cached_property
    def program(self) -> Program:
        """The model as a program.

        Raises:
            UnsupportedError: a step that no reader knows, named.
        """
        features = enumerate(self.model.features)
        categories = {place: len(feature.categories) for place, feature in features if feature.dtype == "category"}
        return centred(fold_into_thresholds(read_model(self.model), categories), self.calibration)
