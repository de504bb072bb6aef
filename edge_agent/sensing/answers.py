"""One answer, as every sink tells it: a JSON object.

``{"id": …, "row": …, "at": …, "bundle": "name/version", "label": … or "value": …, "confidence": …}``

An answer that abstains has the label ``null`` and ``"abstained": true`` at its end: whoever does not look for that has
no label to act upon. `edge_agent.sensing.answer_lines` writes the same for many rows at once.
"""

from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from broker.messages import BundleRef
from edge_agent.scoring.scorer import Prediction
from edge_agent.sensing.answer_lines import CONFIDENCE_PLACES

_ENCODER: Final = msgspec.json.Encoder()


class Answer(Struct, frozen=True, gc=False):
    """The answer of one row.

    Attributes:
        id: of the prediction, for labels that come later.
        row: number of the row in its source.
        at: UTC seconds since 1970.
        bundle: ``name/version`` of what answered.
        label: classification: name of the most probable label; None: it abstains.
        value: what was predicted, where there are no labels.
        confidence: probability of `label`; 0 without labels.
        abstained: whether the confidence is too low for a label.
    """

    id: str
    row: int
    at: float
    bundle: str
    label: str | UnsetType | None = UNSET
    value: float | UnsetType = UNSET
    confidence: float = 0.0
    abstained: bool | UnsetType = UNSET


def answer_of(prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> Answer:
    """Return a prediction as an answer; nothing of the prediction itself is kept."""
    label, confidence = prediction.label, round(prediction.confidence, CONFIDENCE_PLACES)
    if label is None:
        return Answer(prediction_id, row, at_utc_s, str(bundle), UNSET, prediction.value, confidence)
    if prediction.abstained:
        return Answer(prediction_id, row, at_utc_s, str(bundle), None, UNSET, confidence, abstained=True)
    return Answer(prediction_id, row, at_utc_s, str(bundle), label, UNSET, confidence)


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as one line of JSON, without its newline."""
    return _ENCODER.encode(answer)
