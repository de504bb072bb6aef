"""What can be said of a detector whose rows nobody has labelled: how often it alarms, and with whom it agrees.

Whether an alarm is right nobody knows, so that no figure here is one of quality.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray


class AlarmFigures(Struct, frozen=True):
    """How often a detector alarms.

    Attributes:
        judged: share of the judged rows.
        trained: share of the rows that it was fitted on.
        champion_agreement: share of the compared rows on which the champion decides alike; 0 where there are none.
    """

    judged: float
    trained: float
    champion_agreement: float = 0.0


def alarm_share(answers: NDArray[np.float64]) -> float:
    """Return the share of answers, ``(n, 1)``, that are alarms: numbers below 0."""
    return float(np.mean(answers[:, 0] < 0))


def agreement(answers: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the share of rows on which two detectors decide alike, by their answers ``(n, 1)``; 0 without rows."""
    return float(np.mean((answers[:, 0] < 0) == (others[:, 0] < 0))) if len(answers) else 0.0
