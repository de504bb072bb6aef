"""Where the blocks of trials are answered: in this process, or wherever another one of these lets them be.

What comes out does not depend on it. Which trial is drawn next, and which one is given up, is decided in one place
(`trainer.pipeline.search.study`), in the order of the trials.
"""

from collections.abc import Sequence
from typing import Protocol

from trainer.pipeline.candidates import Family
from trainer.pipeline.lesson import Lesson
from trainer.pipeline.search.trial import Answered, Draw, answer_block


class Begun(Protocol):
    """A trial whose blocks are being answered."""

    def answered(self, block: int) -> Answered:
        """Return what came of a block; raise what its fit raised."""
        ...

    def drop(self) -> None:
        """Nobody asks any more: it was given up, or the search broke off."""
        ...


class Place(Protocol):
    """Answers the blocks of trials.

    Attributes:
        n_at_once: how many trials it can work on.
        name: for people; empty: this process.
    """

    n_at_once: int
    name: str

    def begin(self, draw: Draw) -> Begun:
        """Begin to answer the blocks of a trial."""
        ...


class Here:
    """This process: a block is answered when it is asked for."""

    n_at_once = 1
    name = ""

    def __init__(self, lesson: Lesson, families: Sequence[Family]) -> None:
        self._lesson, self._families = lesson, {family.name: family for family in families}

    def begin(self, draw: Draw) -> Begun:
        """Remember what is asked for."""
        return _WhenAsked(self._lesson, self._families[draw.family], draw)


class _WhenAsked:
    def __init__(self, lesson: Lesson, family: Family, draw: Draw) -> None:
        self._lesson, self._family, self._draw = lesson, family, draw

    def answered(self, block: int) -> Answered:
        return answer_block(self._lesson, self._family, self._draw, block)

    def drop(self) -> None:
        """There is nothing that goes on."""
