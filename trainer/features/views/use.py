"""What a project takes from a view: recorded with a run, and followed by its lineage."""

from msgspec import Struct


class ViewUse(Struct, frozen=True):
    """What a project takes from one view.

    Attributes:
        version: of the view as it was read.
        features: names of the view's features, each with the model's input that it is.
        is_label: whether its rows are the labelled ones.
    """

    view: str
    version: int
    features: tuple[tuple[str, str], ...]
    is_label: bool = False
