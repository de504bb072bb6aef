"""Writes the figures of build/bench/*.json into docs/benchmarks.md, with the machine they were taken on.

``python -m benchmarks.page``, after ``make bench``.
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
_HEAD: Final = "| what | ours | peer | unit | ratio | reach | met | runs |\n|---|---|---|---|---|---|---|---|"


def render_figures(areas: Mapping[str, Sequence[Ratio]], machine: str) -> str:
    """Return the generated section: one table an area, in the order of their names."""
    parts = [f"Taken on {machine}."]
    for area, ratios in sorted(areas.items()):
        rows = [
            f"| {each.name} | {_short(each.ours)} | {_short(each.peer)} | {each.unit} | {each.ratio:.3g} "
            f"| {each.reach:.3g} | {'yes' if each.met else '**no**'} | {each.runs} |"
            for each in ratios
        ]
        parts.append("\n".join((f"### {area}\n{_HEAD}", *rows)))
    return "\n\n".join(parts) + "\n"


def with_figures(page: str, figures: str) -> str:
    """Return the page with its generated section replaced.

    Raises:
        ValueError: the page does not have the two marks, each once and in order.
    """
    before, begin, rest = page.partition(f"{BEGIN}\n")
    old, end, after = rest.partition(END)
    if not begin or not end or BEGIN in old + after or END in before + after:
        raise ValueError(f"the page must hold {BEGIN!r} and then {END!r}, each once on a line of its own")
    return f"{before}{BEGIN}\n{figures}{END}{after}"


def describe_machine(when: datetime) -> str:
    """Return what the figures depend on, in one line."""
    processor = next(
        (line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith(("model name", "Model"))), "unknown"
    )
    python = platform.python_version()
    return f"{when:%Y-%m-%d}, {os.cpu_count()} cores of {platform.machine()} ({processor}), Python {python}"


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
    newest = max(path.stat().st_mtime for path in results)
    machine = describe_machine(datetime.fromtimestamp(newest, UTC))
    figures = render_figures({path.stem: load_area(path) for path in results}, machine)
    replace_file(PAGE, with_figures(PAGE.read_text(encoding="utf-8"), figures).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
