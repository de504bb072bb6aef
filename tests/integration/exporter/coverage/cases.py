"""Every model of the coverage table."""

from collections.abc import Callable, Iterator

from tests.integration.exporter.coverage.case import Case
from tests.integration.exporter.coverage.composites import composite_makers
from tests.integration.exporter.coverage.estimators import estimator_makers


def makers() -> tuple[Callable[[], Iterator[Case]], ...]:
    """Return what fits the models, few at a time, in the order of the table."""
    return (*composite_makers(), *estimator_makers())


def all_cases() -> Iterator[Case]:
    """Yield every model, fitted when its turn comes."""
    for make in makers():
        yield from make()
