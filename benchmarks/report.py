"""What a benchmark found: ratios of ours to a peer, as data and as a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from edge_agent.durable import replace_file

_MET: Final = {True: "yes", False: "NOT MET", None: ""}
RESULTS: Final = Path(__file__).resolve().parent.parent / "build" / "bench"


class Ratio(msgspec.Struct, frozen=True):
    """Ours against a peer, measured in one run.

    Attributes:
        name: What was compared.
        ours: Our value.
        peer: The peer's value, in the same unit.
        ratio: ours / peer.
        reach: The ratio to reach: an upper bound, or a lower one where more is better; None: a peer is shown beside.
        met: Whether it was reached; None where nothing is to be.
        unit: Unit of both values.
        runs: How many runs each value is taken over.
    """

    name: str
    ours: float
    peer: float
    ratio: float
    reach: float | None
    met: bool | None
    unit: str
    runs: int


def compare(
    name: str, *, ours: float, peer: float, reach: float | None, unit: str, runs: int, higher_is_better: bool = False
) -> Ratio:
    """Compare two values measured in one run.

    Raises:
        ValueError: A value that no measurement gives: runs below 1, a peer that is not positive.
    """
    if runs < 1:
        raise ValueError(f"{name}: runs is {runs}; a value comes from one run at least")
    if not peer > 0:
        raise ValueError(f"{name}: the peer's value is {peer}; a ratio needs a positive one")
    ratio = ours / peer
    met = None if reach is None else ratio >= reach if higher_is_better else ratio <= reach
    return Ratio(name, ours, peer, ratio, reach, met, unit, runs)


def write_area(area: str, ratios: Sequence[Ratio], folder: Path = RESULTS) -> Path:
    """Write build/bench/AREA.json, a list of ratios, whole or not at all; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{area}.json"
    replace_file(path, msgspec.json.format(msgspec.json.encode(list(ratios)), indent=2) + b"\n")
    return path


def load_area(path: Path) -> list[Ratio]:
    """Read what `write_area` wrote.

    Raises:
        msgspec.ValidationError: The file holds something else.
    """
    return msgspec.json.decode(path.read_bytes(), type=list[Ratio])


def print_area(area: str, ratios: Sequence[Ratio], console: Console) -> None:
    """Print the ratios of one area as a table."""
    table = Table(title=f"bench {area}", title_justify="left")
    table.add_column("what", overflow="fold")
    for column in ("ours", "peer", "unit", "ratio", "reach", "runs"):
        table.add_column(column, justify="left" if column == "unit" else "right", no_wrap=True)
    table.add_column("met")
    for each in ratios:
        table.add_row(
            each.name,
            f"{each.ours:.4g}",
            f"{each.peer:.4g}",
            each.unit,
            f"{each.ratio:.3g}",
            "" if each.reach is None else f"{each.reach:.3g}",
            str(each.runs),
            _MET[each.met],
        )
    console.print(table)
