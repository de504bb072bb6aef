"""Every model of the coverage table."""

from collections.abc import Iterator

from tests.integration.exporter.coverage.case import Case
from tests.integration.exporter.coverage.composites import composite_cases
from tests.integration.exporter.coverage.estimators import estimator_cases


def all_cases() -> Iterator[Case]:
    """Yield every model, fitted when its turn comes."""
    yield from composite_cases()
    yield from estimator_cases()
