"""Draws quality over rows, static against loop, with the moments that mattered: a PNG, and a self-contained page."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.durable import replace_file


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened at a row."""

    row: int
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Quality at rows."""

    name: str
    colour: str
    rows: Sequence[int]
    quality: Sequence[float]


def draw(
    png: Path,
    page: Path,
    *,
    title: str,
    metric: str,
    curves: Sequence[Curve],
    moments: Sequence[Moment],
    facts: Sequence[tuple[str, str]],
    note: str,
) -> None:
    """Write the picture to ``png``, and to ``page`` the same picture with the facts below it."""
    import matplotlib as mpl  # noqa: PLC0415 - heavy, and drawn once

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(11, 5.2), dpi=110)
    for curve in curves:
        axes.plot(curve.rows, curve.quality, color=curve.colour, label=curve.name, linewidth=1.8)
    top = axes.get_ylim()[1]
    for index, moment in enumerate(moments):
        axes.axvline(moment.row, color=moment.colour, linestyle="--", linewidth=1.1)
        axes.annotate(
            moment.text,
            (moment.row, top),
            xytext=(3, -10 - 13 * (index % 5)),
            textcoords="offset points",
            fontsize=8,
            color=moment.colour,
        )
    axes.set_title(title)
    axes.set_xlabel("row of the data, in the order of time")
    axes.set_ylabel(metric)
    axes.grid(visible=True, alpha=0.25)
    axes.legend(loc="lower left")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    replace_file(png, buffer.getvalue())
    replace_file(page, _page(title, note, buffer.getvalue(), facts).encode())


def _page(title: str, note: str, png: bytes, facts: Sequence[tuple[str, str]]) -> str:
    rows = "\n".join(
        f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts
    )
    picture = base64.b64encode(png).decode()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }}
img {{ width: 100%; height: auto; }}
table {{ border-collapse: collapse; margin-top: 1rem; }}
th, td {{ text-align: left; padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid #d8dee6; font-weight: normal; }}
td {{ font-variant-numeric: tabular-nums; }}
</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(note)}</p>
<img alt="{html.escape(title)}" src="data:image/png;base64,{picture}">
<table>
{rows}
</table>
</body>
</html>
"""
