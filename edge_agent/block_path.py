"""The way of rows that are there together: scored, counted and answered as one block.

Whatever a row of it brings about is the row's: the others keep their answers. `turn` has the way of single rows, which
gives the same answers and the same counts.
"""

from array import array
from collections.abc import Sequence

from edge_agent.bundle import Manifest
from edge_agent.scoring.row_block import BlockScorer
from edge_agent.sensing.answer_lines import AnswerLines
from edge_agent.sensing.source import SourceRow
from edge_agent.tally import COUNTING, RUNTIME, Outlets, Tally
from edge_agent.telemetry.novelty import Novelty
from edge_agent.telemetry.sampler import Candidate


class BlockPath:
    """One bundle's block of rows, and where its answers go; used by the scoring thread.

    Attributes:
        capacity: rows that it takes at once.
    """

    def __init__(self, manifest: Manifest, block: BlockScorer, tally: Tally, outlets: Outlets) -> None:
        self.capacity = block.capacity
        self._block = block
        self._tally = tally
        self._outlets = outlets
        self._novelty = Novelty(manifest.references)
        self._lines = AnswerLines(manifest, outlets.prediction_prefix, outlets.abstain_below)

    def score(self, rows: list[SourceRow]) -> bool:
        """Score, count and answer rows; return False if that failed before any was counted."""
        block, tally, outlets = self._block, self._tally, self._outlets
        try:
            # What is on trial is judged by the time of single rows.
            together = outlets.batches and tally.engine.meter is None
            refused = block.score(rows, outlets.clock.monotonic_s, together=together)
        except Exception as error:  # noqa: BLE001 - whatever it is, the rows are scored, one by one
            outlets.surprises.tell("scoring a block of rows", error)
            return False
        n_scored = block.settle(len(rows), refused)
        last = rows[-1].number
        tally.window.count_block(rows[0].number, last, n_scored)
        tally.cursor = last + 1
        for place, refusal in refused:
            if refusal.kind == RUNTIME and isinstance(refusal.__cause__, Exception):
                outlets.surprises.tell(f"scoring row {rows[place].number}", refusal.__cause__)
            tally.refuse(rows[place].number, refusal)
        if n_scored:
            places, at_utc_s = block.counted(len(rows)), outlets.clock.utc_s()
            self._sample(rows, places, at_utc_s)
            if outlets.shadow.is_open:
                for place in places:
                    outlets.shadow.offer(rows[place].values, tally.engine.scorer.scored(place))
            self._answer(rows, places, at_utc_s)
        return True

    def _sample(self, rows: list[SourceRow], places: Sequence[int], at_utc_s: float) -> None:
        prefix, answers = self._outlets.prediction_prefix, self._block.block

        def candidate(index: int) -> Candidate:
            place = places[index]
            answer = answers.answer(place)
            prediction_id = prefix + str(rows[place].number)
            return Candidate(prediction_id, at_utc_s, answers.packed(place), answer[1], answer[2], answer[3] == 1)

        try:
            self._outlets.sampler.offer_many(
                len(places),
                candidate,
                lambda index: answers.answer(places[index])[5],
                lambda index: self._novelty.of(array("d", answers.packed(places[index]))),
            )
        except Exception as error:  # noqa: BLE001 - as in `Turn`
            self._fail("sampling a block of rows", error)

    def _answer(self, rows: list[SourceRow], places: Sequence[int], at_utc_s: float) -> None:
        """Give the answers to the sink, as lines where it takes those, and count their times on a trial."""
        line_sink, meter, answers = self._outlets.line_sink, self._tally.engine.meter, self._block.block
        if line_sink is None:
            for place in places:
                self._answer_one(rows[place].number, place, at_utc_s)
            return
        try:
            line_sink.write_lines(self._lines.write(answers, rows, at_utc_s), len(places))
        except Exception as error:  # noqa: BLE001 - as in `Turn`
            self._fail("writing the answers of a block of rows", error)
        if meter is not None:
            for place in places:
                meter.count(answers.answer(place)[6])

    def _answer_one(self, number: int, place: int, at_utc_s: float) -> None:
        outlets, engine = self._outlets, self._tally.engine
        try:
            prediction_id = outlets.prediction_prefix + str(number)
            prediction = engine.scorer.scored(place)
            outlets.sink.write(prediction_id, number, at_utc_s, engine.content.bundle, prediction)
            meter = engine.meter
            if meter is not None:
                meter.count(self._block.block.answer(place)[6])
        except Exception as error:  # noqa: BLE001 - as in `Turn`
            self._fail(f"counting row {number}", error)

    def _fail(self, what: str, error: Exception) -> None:
        self._outlets.surprises.tell(what, error)
        self._tally.fail(COUNTING)
