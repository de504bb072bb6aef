"""A pipeline as a graph: every step after those whose artefacts it reads."""

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import Generic

from trainer.errors import RunError
from trainer.pipeline.step import B, Step


class Graph(Generic[B]):
    """Steps and their order; what is no graph is refused."""

    def __init__(self, steps: Iterable[Step[B]]) -> None:
        """Order the steps: each after those that it reads, else as they are given.

        Raises:
            ValueError: two steps of one name, an unknown step, or a circle.
        """
        given = tuple(steps)
        self._steps = {step.name: step for step in given}
        if len(self._steps) != len(given):
            raise ValueError(f"two steps have one name among {', '.join(step.name for step in given)}")
        for step in given:
            for name in step.after:
                if name not in self._steps:
                    raise ValueError(f"step {step.name!r} comes after {name!r}, which there is not")
        try:
            tuple(TopologicalSorter({step.name: step.after for step in given}).static_order())
        except CycleError as error:
            raise ValueError(f"the steps go in a circle: {' → '.join(error.args[1])}") from error
        self.order = _ordered(given)

    def step(self, name: str) -> Step[B]:
        """Return a step.

        Raises:
            RunError: there is none of this name.
        """
        if name not in self._steps:
            raise RunError(f"there is no step {name!r}; there are {', '.join(step.name for step in self.order)}")
        return self._steps[name]

    def before(self, name: str) -> tuple[Step[B], ...]:
        """Return all steps that one rests on, in order."""
        return self._reached({name}, backwards=True)

    def behind(self, name: str) -> tuple[Step[B], ...]:
        """Return all steps that rest on one, in order."""
        return self._reached({name}, backwards=False)

    def _reached(self, start: set[str], *, backwards: bool) -> tuple[Step[B], ...]:
        reached = set(start)
        for step in reversed(self.order) if backwards else self.order:
            if backwards and step.name in reached:
                reached.update(step.after)
            if not backwards and reached.intersection(step.after):
                reached.add(step.name)
        return tuple(step for step in self.order if step.name in reached - start)


def _ordered(steps: tuple[Step[B], ...]) -> tuple[Step[B], ...]:
    """Take again and again the first step whose steps before it are all taken."""
    order: list[Step[B]] = []
    waiting = list(steps)
    while waiting:
        taken = {step.name for step in order}
        ready = next(step for step in waiting if taken.issuperset(step.after))
        order.append(ready)
        waiting.remove(ready)
    return tuple(order)
