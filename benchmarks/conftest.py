"""Collects the ratios that benchmarks record; writes and prints them by area when the run is over."""

from pathlib import Path
from typing import Protocol

import pytest
from rich.console import Console

from benchmarks.report import RESULTS, Ratio, compare, print_area, write_area

_RATIOS = pytest.StashKey[dict[str, list[Ratio]]]()
_PREFIX = "bench_"


class RecordRatio(Protocol):
    """Compares two values of one run, and keeps the result for this module's area."""

    def __call__(
        self,
        name: str,
        *,
        ours: float,
        peer: float,
        reach: float | None,
        unit: str,
        runs: int,
        higher_is_better: bool = False,
    ) -> Ratio:
        """Record ours / peer, which should be at most `reach`, or at least if `higher_is_better`; None: to be seen."""
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bench-folder", type=Path, default=RESULTS, help="where AREA.json files go (build/bench)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RATIOS] = {}


@pytest.fixture
def record_ratio(request: pytest.FixtureRequest) -> RecordRatio:
    """Record a ratio under the area that this module names as AREA, or else by its own name: bench_AREA.py."""
    area = getattr(request.module, "AREA", request.path.stem.removeprefix(_PREFIX))
    ratios = request.config.stash[_RATIOS].setdefault(area, [])

    def record(
        name: str,
        *,
        ours: float,
        peer: float,
        reach: float | None,
        unit: str,
        runs: int,
        higher_is_better: bool = False,
    ) -> Ratio:
        result = compare(
            name, ours=ours, peer=peer, reach=reach, unit=unit, runs=runs, higher_is_better=higher_is_better
        )
        ratios.append(result)
        return result

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write and print every area that recorded something."""
    console = Console(width=max(100, Console().width), highlight=False)
    for area, ratios in sorted(config.stash[_RATIOS].items()):
        if ratios:
            terminalreporter.ensure_newline()
            print_area(area, ratios, console)
            console.print(f"written to {write_area(area, ratios, config.getoption('--bench-folder'))}", soft_wrap=True)
