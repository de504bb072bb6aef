"""Writes the figures of build/bench/*.json into docs/benchmarks.md, with the machine they were taken on.

``python -m benchmarks.page``, after ``make bench`` or ``make bench-AREA``: areas that were not run keep their figures.
"""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.report import RESULTS, Ratio, load_area
from edge_agent.durable import replace_file

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
BEGIN: Final = "<!-- figures, written by python -m benchmarks.page -->"
END: Final = "<!-- end of figures -->"
_MET: Final = {True: "yes", False: "**no**", None: "–"}
_HEADING: Final = "### "
_HEAD: Final = "| what | ours | peer | unit | ratio | reach | met | runs |\n|---|---|---|---|---|---|---|---|"


def render_area(area: str, ratios: Sequence[Ratio], machine: str) -> str:
    """Return one area's part of the generated section: its heading, the machine, its table."""
    rows = [
        f"| {each.name} | {_short(each.ours)} | {_short(each.peer)} | {each.unit} | {each.ratio:.3g} "
        f"| {'–' if each.reach is None else f'{each.reach:.3g}'} | {_MET[each.met]} | {each.runs} |"
        for each in ratios
    ]
    return "\n".join((f"{_HEADING}{area}", f"Taken on {machine}.", "", _HEAD, *rows)) + "\n"


def with_figures(page: str, areas: Mapping[str, str]) -> str:
    """Return the page with the parts of some areas replaced or added, in the order of their names.

    Raises:
        ValueError: the page does not have the two marks, each once and in order.
    """
    before, begin, rest = page.partition(f"{BEGIN}\n")
    old, end, after = rest.partition(END)
    if not begin or not end or BEGIN in old + after or END in before + after:
        raise ValueError(f"the page must hold {BEGIN!r} and then {END!r}, each once on a line of its own")
    _, *parts = f"\n{old}".split(f"\n{_HEADING}")
    kept = {part.partition("\n")[0]: f"{_HEADING}{part.rstrip()}\n" for part in parts}
    figures = "\n".join(text for _, text in sorted((kept | dict(areas)).items()))
    return f"{before}{BEGIN}\n{figures}{END}{after}"


def describe_machine(when: datetime) -> str:
    """Return what the figures depend on, in one line."""
    processor = next(
        (line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith(("model name", "Model"))), "unknown"
    )
    python = platform.python_version()
    return f"{when:%Y-%m-%d}, {os.cpu_count()} cores of {platform.machine()} ({processor}), Python {python}"


def _machine_of(results: Path) -> str:
    return describe_machine(datetime.fromtimestamp(results.stat().st_mtime, UTC))


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 1000 else f"{number:.3g}"


def main() -> int:
    """Write the page; return 1 when there is nothing to write."""
    results = sorted(RESULTS.glob("*.json"))
    if not results:
        sys.stderr.write(f"no figures in {RESULTS}; run make bench first\n")
        return 1
    areas = {path.stem: render_area(path.stem, load_area(path), _machine_of(path)) for path in results}
    replace_file(PAGE, with_figures(PAGE.read_text(encoding="utf-8"), areas).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
