"""One message, one row: taken apart as the agent's sources do it, and what is answered to it."""

from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from broker.messages import BundleRef
from edge_agent.scoring.schema import RawRow, RawValue
from edge_agent.scoring.scorer import Prediction
from edge_agent.sensing.answer_lines import CONFIDENCE_PLACES
from edge_agent.sensing.json_rows import MAX_ROW_BYTES

# Given back with the answer, if a row is an object that has it: whatever its sender tells rows apart by.
ROW_ID: Final = "row_id"

# Whole numbers stay whole: keys of entities may be.
_Content = dict[str, bool | int | float | str | None] | list[bool | int | float | str | None]
_ROW: Final = msgspec.json.Decoder(_Content)
_ENCODER: Final = msgspec.json.Encoder()


class Row(Struct, frozen=True):
    """A message that could be taken apart.

    Attributes:
        columns: by name, of an object; None: it is an array.
        values: of an array, in the order of the model's features.
        row_id: its sender's; None: it has none.
    """

    columns: dict[str, RawValue] | None = None
    values: RawRow = ()
    row_id: str | float | None = None


class TopicAnswer(Struct, frozen=True):
    """What is published for one message, as JSON.

    Attributes:
        id: of the prediction, for labels that come later; empty where the row was refused.
        at: UTC seconds since 1970.
        bundle: ``name/version`` of what answered.
        row_id: the row's.
        label: classification: name of the most probable label.
        value: what was predicted, where there are no labels.
        confidence: probability of `label`; 0 without labels.
        refused: why there is no answer.
    """

    id: str
    at: float
    bundle: str
    row_id: str | float | UnsetType = UNSET
    label: str | UnsetType = UNSET
    value: float | UnsetType = UNSET
    confidence: float | UnsetType = UNSET
    refused: str | UnsetType = UNSET


def parse_message(payload: bytes) -> Row | None:
    """Return the row of a message; None: it is none, or too long."""
    if len(payload) > MAX_ROW_BYTES:
        return None
    try:
        content = _ROW.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(content, list):
        return Row(values=[_raw(value) for value in content])
    row_id = content.get(ROW_ID)
    told = row_id if isinstance(row_id, str | int | float) and not isinstance(row_id, bool) else None
    return Row({name: _raw(value) for name, value in content.items()}, row_id=told)


def answer_of(row: Row, id_: str, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> bytes:
    """Return the answer to a row."""
    is_labelled = prediction.label is not None
    answer = TopicAnswer(
        id_,
        at_utc_s,
        str(bundle),
        _told(row),
        label=prediction.label if prediction.label is not None else UNSET,
        value=UNSET if is_labelled else prediction.value,
        confidence=round(prediction.confidence, CONFIDENCE_PLACES),
    )
    return _ENCODER.encode(answer)


def refusal_of(row: Row | None, at_utc_s: float, bundle: BundleRef, reason: str) -> bytes:
    """Return the word that a row, or what should be one, has no answer."""
    return _ENCODER.encode(TopicAnswer("", at_utc_s, str(bundle), _told(row or Row()), refused=reason))


def _told(row: Row) -> str | float | UnsetType:
    return UNSET if row.row_id is None else row.row_id


def _raw(value: bool | float | str | None) -> RawValue:  # noqa: FBT001 - a value of a row
    # As rows of JSON have them: true and false are words, not the numbers 1 and 0.
    return str(value).lower() if isinstance(value, bool) else value
