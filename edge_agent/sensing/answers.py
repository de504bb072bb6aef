"""One answer, as every sink tells it: a JSON object.

``{"id": …, "row": …, "at": …, "bundle": "name/version", "label": … or "value": …, "confidence": …}``
"""

from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from broker.messages import BundleRef
from edge_agent.scoring.scorer import Prediction

_ENCODER: Final = msgspec.json.Encoder()


class Answer(Struct, frozen=True, gc=False):
    """The answer of one row.

    Attributes:
        id: of the prediction, for labels that come later.
        row: number of the row in its source.
        at: UTC seconds since 1970.
        bundle: ``name/version`` of what answered.
        label: classification: name of the most probable label.
        value: what was predicted, where there are no labels.
        confidence: probability of `label`; 0 without labels.
    """

    id: str
    row: int
    at: float
    bundle: str
    label: str | UnsetType = UNSET
    value: float | UnsetType = UNSET
    confidence: float = 0.0


def answer_of(prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> Answer:
    """Return a prediction as an answer; nothing of the prediction itself is kept."""
    label = prediction.label
    if label is None:
        return Answer(prediction_id, row, at_utc_s, str(bundle), UNSET, prediction.value, prediction.confidence)
    return Answer(prediction_id, row, at_utc_s, str(bundle), label, UNSET, prediction.confidence)


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as one line of JSON, without its newline."""
    return _ENCODER.encode(answer)
