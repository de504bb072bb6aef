"""What the gate looks at, and what it says: values alone.

Qualities are in units of the project's metric, higher is better.
"""

from msgspec import Struct

from trainer.pipeline.alarms import AlarmFigures
from trainer.pipeline.slices import SliceFigures


class VariantFigures(Struct, frozen=True):
    """What the exporter measured of one variant; `refusal` is empty when it may go to devices."""

    name: str
    made: bool
    refusal: str
    size_bytes: int
    latency_us: float
    parity_loss: float


class GateEvidence(Struct, frozen=True):
    """All that the gate looks at.

    Attributes:
        judged_rows: rows that no judged model was trained on.
        quality: of the candidate on them.
        constant_quality: of the best constant answer on them (majority, or mean).
        majority_share: share of the most frequent label among them; 0 for regression.
        champion_version: 0: there is none.
        champion_answers_alike: whether it takes the same features and gives the same labels.
        compared_rows: those judged rows of which the champion, or a model of its kind, gave an honest answer too.
        compared_quality, champion_quality: of both models on the compared rows.
        champion_chance: how often a gain like that over the champion comes about by chance.
        constant_chance: the same of the gain over the constant answer on the judged rows.
        slices: quality on parts of the judged rows.
        persistence_rows: judged rows before which a label was known; 0: rows have no times.
        persistence_quality: of whoever answers the judged rows by the last label that was known.
        persistence_chance: how often a gain like that over this answer comes about by chance.
        alarms: of a detector whose rows nobody has labelled; then none of the qualities says anything.
        is_label_delay_known: whether the project says how late labels are known; else nobody can answer by them.
        recent_rows: the latest judged rows of the fleet, 0 when the fleet does not judge.
        recent_quality, recent_constant_quality, recent_majority_share: on those.
    """

    metric: str
    judged_rows: int
    quality: float
    constant_quality: float
    majority_share: float
    champion_version: int
    champion_answers_alike: bool
    compared_rows: int
    compared_quality: float
    champion_quality: float
    recent_rows: int
    recent_quality: float
    recent_constant_quality: float
    recent_majority_share: float
    variants: tuple[VariantFigures, ...]
    champion_chance: float = 0.0
    constant_chance: float = 0.0
    slices: tuple[SliceFigures, ...] = ()
    persistence_rows: int = 0
    persistence_quality: float = 0.0
    persistence_chance: float = 0.0
    is_label_delay_known: bool = False
    alarms: AlarmFigures | None = None


class GateCheck(Struct, frozen=True):
    """One check.

    Attributes:
        value: what was found; passed when it is not below `limit` (`is_ceiling`: not above).
        decides: whether failing it refuses the candidate; a variant that fails is only left out of the bundle.
    """

    name: str
    value: float
    limit: float
    passed: bool
    text: str
    is_ceiling: bool = False
    decides: bool = True


class GateDecision(Struct, frozen=True):
    """The decision with the evidence that it was made on."""

    passed: bool
    checks: tuple[GateCheck, ...]
    evidence: GateEvidence

    @property
    def refusals(self) -> tuple[str, ...]:
        """What refused the candidate, in words."""
        return tuple(check.text for check in self.checks if check.decides and not check.passed)
