"""Draws a lineage: as a tree for a terminal, as Mermaid, as an SVG that stands alone."""

from collections.abc import Callable
from html import escape
from typing import Final

from rich.markup import escape as plain
from rich.tree import Tree

from trainer.console.lineage import KINDS, Lineage, Node

_SHOWN: Final = 12
_LONG: Final = frozenset({"run", "data"})
# Wide enough for the longest texts that `_svg_node` leaves.
_WIDTH, _HEIGHT, _GAP, _COLUMN = 226, 40, 14, 286
_COLOURS: Final = {
    "view": "#8b2f6b",
    "feature": "#6b4fa0",
    "data": "#8a5a00",
    "run": "#5b6570",
    "model": "#2767b0",
    "bundle": "#1b7a46",
    "device": "#b3321f",
}


def lineage_tree(lineage: Lineage, node: Node) -> Tree:
    """Return a tree: what the thing was made of, and what was made of it."""
    tree = Tree(_label(node))
    for title, next_of in (("made of", lineage.upstream), ("became", lineage.downstream)):
        if next_of(node):
            _grow(tree.add(f"[dim]{title}[/]"), node, next_of)
    return tree


def lineage_mermaid(lineage: Lineage) -> str:
    """Return a Mermaid flowchart."""
    number = {node: f"n{index}" for index, node in enumerate(lineage.nodes)}
    lines = ["flowchart LR"]
    for node, name in number.items():
        words = f"{node.kind} {_short(node)}".replace('"', "#quot;")
        lines.append(f'  {name}["{words}"]:::{node.kind}')
    lines += [f"  {number[edge.source]} --> {number[edge.target]}" for edge in lineage.edges]
    lines += [f"  classDef {kind} stroke:{colour}" for kind, colour in _COLOURS.items()]
    return "\n".join(lines) + "\n"


def lineage_svg(lineage: Lineage) -> str:
    """Return a picture: one column for each kind, lines from what was to what came of it."""
    kinds = [kind for kind in KINDS if any(node.kind == kind for node in lineage.nodes)]
    columns = [[node for node in lineage.nodes if node.kind == kind] for kind in kinds]
    rows = max((len(column) for column in columns), default=0)
    height = rows * (_HEIGHT + _GAP) + _GAP
    place: dict[Node, tuple[float, float]] = {}
    for x, column in enumerate(columns):
        top = (height - len(column) * (_HEIGHT + _GAP) + _GAP) / 2
        place |= {node: (_GAP + x * _COLUMN, top + y * (_HEIGHT + _GAP)) for y, node in enumerate(column)}
    width = len(columns) * _COLUMN
    parts = [_svg_head(width, height), '<rect width="100%" height="100%" fill="#ffffff"/>']
    parts += [_svg_line(*place[edge.source], *place[edge.target]) for edge in lineage.edges]
    parts += [_svg_node(node, x, y) for node, (x, y) in place.items()]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _svg_head(width: int, height: int) -> str:
    view = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {view} font-family="system-ui,sans-serif" font-size="12">'


def _svg_line(x1: float, y1: float, x2: float, y2: float) -> str:
    start, y1, y2 = x1 + _WIDTH, y1 + _HEIGHT / 2, y2 + _HEIGHT / 2
    bend = (start + x2) / 2
    path = f"M{start:g},{y1:g} C{bend:g},{y1:g} {bend:g},{y2:g} {x2:g},{y2:g}"
    return f'<path d="{path}" fill="none" stroke="#b8c0c8"/>'


def _svg_node(node: Node, x: float, y: float) -> str:
    colour = _COLOURS[node.kind]
    box = f'x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"'
    title, about = _cut(f"{node.kind} {_short(node)}", 28), _cut(node.about, 34)
    return "\n".join(
        (
            f"<g><title>{escape(node.key)}</title>",
            f'<rect {box} fill="#fafaf8" stroke="{colour}"/>',
            f'<text x="{x + 10:g}" y="{y + 16:g}" fill="{colour}">{escape(title)}</text>',
            f'<text x="{x + 10:g}" y="{y + 31:g}" fill="#5b6570" font-size="10">{escape(about)}</text></g>',
        )
    )


def _grow(branch: Tree, node: Node, next_of: Callable[[Node], tuple[Node, ...]]) -> None:
    for child in next_of(node):
        _grow(branch.add(_label(child)), child, next_of)


def _label(node: Node) -> str:
    about = f"  [dim]{plain(node.about)}[/]" if node.about else ""
    return f"{node.kind} [bold]{plain(_short(node))}[/]{about}"


def _short(node: Node) -> str:
    return node.name[:_SHOWN] if node.kind in _LONG else node.name


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
