"""A picture that puts methods side by side. matplotlib is imported when it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipvil_mmf.profiling.processes import Row
from clipvil_mmf.profiling.table import writing

_GIB = 2**30
_STRONG, _LIGHT = "#2f5d8a", "#b9cde0"


def draw(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw four panels of bars, a bar for each method that was measured, into a .png file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measured = {row.method: row.figures for row in rows if row.figures is not None}
    names, figures = list(measured), list(measured.values())
    canvas = Figure(figsize=(13, 1.6 + 0.42 * len(names)), layout="constrained", dpi=120)
    FigureCanvasAgg(canvas)
    panels = canvas.subplots(1, 4, sharey=True)
    canvas.suptitle(title, x=0.01, ha="left", fontsize=11)

    percents = [found.parameters.percent for found in figures]
    peaks = [found.peak / _GIB for found in figures]
    growths = [found.growth / _GIB for found in figures]
    resting = [peak - growth for peak, growth in zip(peaks, growths, strict=True)]
    bars(panels[0], names, percents, "trainable parameters (%)", "{:.2f}")
    panels[1].barh(names, resting, color=_LIGHT, label="at rest")
    grown = panels[1].barh(names, growths, left=resting, color=_STRONG, label="growth")
    panels[1].bar_label(grown, [f"{peak:.2f}" for peak in peaks], padding=3, fontsize=8)
    panels[1].set_xlabel("peak memory of a training step (GiB)")
    panels[1].set_xlim(0, 1.2 * max(peaks))
    panels[1].legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    bars(panels[2], names, [found.step for found in figures], "training step (s)", "{:.3g}")
    bars(panels[3], names, [found.predict for found in figures], "prediction (s)", "{:.3g}")
    tidy(panels)
    with writing(path) as partial:
        canvas.savefig(partial)


def bars(
    panel: object, names: Sequence[str], values: Sequence[float], label: str, text: str
) -> None:
    """Draw a panel of horizontal bars, each with its value in the format ``text`` at its end."""
    drawn = panel.barh(names, values, color=_STRONG)
    panel.bar_label(drawn, [text.format(value) for value in values], padding=3, fontsize=8)
    panel.set_xlabel(label)
    panel.set_xlim(0, 1.2 * max(values) or 1)


def tidy(panels: Sequence[Any], label_size: int = 9) -> None:
    """Finish panels beside each other: the first name on top, no frames, small labels."""
    panels[0].invert_yaxis()
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=label_size)
        panel.xaxis.label.set_size(9)
