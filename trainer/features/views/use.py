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


class ViewRead(Struct, frozen=True):
    """What there was in a view when a run began, which a run that is taken up reads again and nothing else.

    Attributes:
        through: number of the last push that counts; 0: there was none.
        given: rows that its source gave when the run began.
        added: of these, rows that the store did not have.
    """

    view: str
    through: int
    given: int = 0
    added: int = 0
