"""What a step of a pipeline is: a function, what it comes after, and all else that decides what it makes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Generic, TypeVar

from trainer.pipeline.outcome import Outcome

B = TypeVar("B")


def nothing_given(_: object) -> Mapping[str, str]:
    """Of a step that depends on its code, the project and the steps before it alone."""
    return {}


@dataclass(frozen=True, slots=True)
class Step(Generic[B]):
    """One step; `B` is the bench that it takes its inputs from.

    Attributes:
        after: steps whose artefacts it reads.
        do: carries it out, writing its files into the folder that it is given.
        modules: full names of the modules whose code it is; what they import counts as well.
        reads: sections, or keys, of the project that it reads.
        given: what else decides what it makes, by name; asked before it is carried out.
        by_products: patterns of its files that no step reads: they may differ without a consequence.
        named: its files that people look for, by what they are.
    """

    name: str
    after: tuple[str, ...]
    do: Callable[[B, Path], Outcome[Any]]
    modules: tuple[str, ...]
    reads: tuple[str, ...] = ()
    given: Callable[[B], Mapping[str, str]] = nothing_given
    by_products: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)

    def is_by_product(self, path: str) -> bool:
        """Tell whether one of its files is read by no other step."""
        return any(fnmatch(path, pattern) for pattern in self.by_products)
