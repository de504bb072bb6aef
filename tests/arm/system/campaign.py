"""``python -m tests.arm.system.campaign --cuts 100``: cuts an emulated board's power again and again, and reports.

The report, build/power-cuts/report.json, is written anew after each cut.
"""

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_agent.clock import SystemClock
from edge_agent.durable import replace_file
from tests.arm.system.board import Board
from tests.arm.system.cards import build_card
from tests.arm.system.power_cuts import survive_power_cuts
from tests.arm.system.world import open_card_world

REPORT: Final = Path("build/power-cuts/report.json")


@dataclass
class Progress:
    """Tells of each cut."""

    began_s: float
    seen: Counter[str] = field(default_factory=Counter)

    def on_cut(self, number: int, what: str) -> None:
        """Note a cut."""
        self.seen[what] += 1
        seconds = round(SystemClock().monotonic_s() - self.began_s, 1)
        print(f"{number:4}  {seconds:8.1f} s  {what}", flush=True)  # noqa: T201 - this is a command
        self.write({"cuts": number, "seconds": seconds, "in_the_midst_of": dict(self.seen)})

    def write(self, report: dict[str, object]) -> None:
        """Write the report."""
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        replace_file(REPORT, json.dumps(report, indent=2).encode() + b"\n")


def main() -> int:
    """Run the campaign; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the board's folder where it is")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fieldloop-power-cuts-"))
    progress = Progress(SystemClock().monotonic_s())
    with open_card_world(folder / "world") as world:
        image = build_card(world.describe_card("card"), folder / "card.img", fleet=world.fleet.path)
        board = Board(folder / "board", image, "virt")
        board.start()
        try:
            ordeal = survive_power_cuts(world, board, asked.cuts, random.Random(asked.seed), progress.on_cut)
            rows = world.witness.rows("one")
        finally:
            board.cut_power()
    found = [f"{finding.kind}: {finding.told}" for finding in ordeal.findings]
    seconds = round(SystemClock().monotonic_s() - progress.began_s, 1)
    report = {
        "cuts": ordeal.cuts,
        "in_a_start": ordeal.in_a_start,
        "in_the_midst_of": dict(progress.seen),
        "rows_stored": rows,
        "seed": asked.seed,
        "seconds": seconds,
        "findings": found,
    }
    progress.write(report)
    print(json.dumps(report, indent=2))  # noqa: T201 - this is a command
    if not asked.keep and not found:
        board.remove()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
