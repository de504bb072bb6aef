"""Draws what a model card shows: quality block by block, and where the model is wrong. Pictures as SVG, no file."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK = "#2767b0"
_SOFT = "#9db9d8"
_MOST_LABELS = 20


def draw_card(
    metric: str,
    blocks: Sequence[float],
    constant: float,
    truth: NDArray[np.float64],
    answers: NDArray[np.float64],
    labels: Sequence[str],
) -> bytes:
    """Return one SVG: the same evidence gives the same bytes.

    Args:
        metric: of the qualities.
        blocks: quality of each contiguous block.
        constant: quality of the best constant answer.
        truth: ``(n,)``: index of the label, or the value.
        answers: ``(n, n_outputs)`` of models that did not see these rows.
        labels: of the outputs; empty: regression.
    """
    import matplotlib as mpl  # noqa: PLC0415 - heavy, and drawn once
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2)
    left.bar(range(1, len(blocks) + 1), blocks, color=_SOFT)
    left.axhline(constant, color="#b3321f", linestyle="--", linewidth=1, label="a constant answer")
    left.set(title="quality, block by block", xlabel="block, in the order of the rows", ylabel=metric)
    left.legend(loc="lower right", fontsize=8)
    if labels:
        _draw_confusion(right, truth.astype(np.int64), answers.argmax(axis=1), labels)
    else:
        _draw_scatter(right, truth, answers[:, 0])
    buffer = io.BytesIO()
    # Without them every drawing differs: names of its parts, and when it was drawn.
    with mpl.rc_context({"svg.hashsalt": "fieldloop", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw_confusion(axes: "Axes", truth: NDArray[np.int64], answer: NDArray[np.int64], labels: Sequence[str]) -> None:
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (truth, answer), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set(title="rows by label", xlabel="the model's answer", ylabel="truth")
    if len(labels) > _MOST_LABELS:
        return
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"  # noqa: PLR2004 - half of the scale is dark
        axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)


def _draw_scatter(axes: "Axes", truth: NDArray[np.float64], answer: NDArray[np.float64]) -> None:
    # As many dots as a page shows.
    places = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), 1000)).astype(np.int64))
    axes.scatter(truth[places], answer[places], s=6, color=_INK, alpha=0.5, linewidths=0)
    low, high = float(min(truth.min(), answer.min())), float(max(truth.max(), answer.max()))
    axes.plot([low, high], [low, high], color="#b3321f", linestyle="--", linewidth=1)
    axes.set(title="answers against the truth", xlabel="truth", ylabel="the model's answer")
