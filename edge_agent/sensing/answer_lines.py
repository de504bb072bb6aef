"""Writes the answers of rows that were scored together: one JSON object a line, as `json_lines_sink` describes it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from edge_agent.bundle import Manifest
from edge_agent.engine.face import RowBlock
from edge_agent.scoring.row_block import Row

# Of a confidence: so many decimal places are told.
CONFIDENCE_PLACES: Final = 6

_ENCODER: Final = msgspec.json.Encoder()


class AnswerLines:
    """Writes the answers of one bundle."""

    def __init__(self, manifest: Manifest, prediction_prefix: str, abstain_below: float) -> None:
        """Prepare what is the same in every line.

        Args:
            manifest: the bundle.
            prediction_prefix: what stands before a row's number in the id of its prediction.
            abstain_below: answers of less confidence have no label.
        """
        # A text without the quote at its end: the row's number follows.
        self._begin = b'{"id":' + _ENCODER.encode(prediction_prefix)[:-1]
        self._bundle = b',"bundle":' + _ENCODER.encode(str(manifest.ref)) + b","
        self._labels = tuple(b'"label":' + _ENCODER.encode(label) for label in manifest.labels) or (b'"value":',)
        self._abstain_below = abstain_below

    def write(self, block: RowBlock, rows: Sequence[Row], at_utc_s: float) -> bytes:
        """Return the lines of the rows that ``block`` counted last, all scored at the same time."""
        middle = b',"at":' + _ENCODER.encode(at_utc_s) + self._bundle
        # Newlines within a label are written as \\n, so that each row is one line.
        return block.lines(rows, self._begin, middle, self._labels, self._abstain_below)
