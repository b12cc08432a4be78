"""A picture that puts runs side by side. matplotlib is imported when it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipvil_mmf.profiling.figure import bars, tidy
from clipvil_mmf.profiling.table import writing
from clipvil_mmf.runs.read import Run

_GIB = 2**30


def draw(runs: Sequence[Run], labels: Sequence[str], path: Path) -> None:
    """Draw four panels of bars, a bar a run, into a .png file.

    Args:
        runs: what is not known of one has a bar of no length.
        labels: what stands beside the bars.
        path: of the file.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = max(label.count("\n") + 1 for label in labels)
    height = 1.2 + (0.25 + 0.17 * lines) * len(runs)
    canvas = Figure(figsize=(14, height), layout="constrained", dpi=120)
    FigureCanvasAgg(canvas)
    panels = canvas.subplots(1, 4, sharey=True)
    bars(panels[0], labels, [run.best or 0.0 for run in runs], score_name(runs), "{:.4g}")
    shares = [100 * (run.trainable or 0) / (run.total or 1) for run in runs]
    bars(panels[1], labels, shares, "trainable parameters (%)", "{:.2f}")
    peaks = [(run.memory or 0) / _GIB for run in runs]
    bars(panels[2], labels, peaks, "peak memory (GiB)", "{:.2f}")
    minutes = [(run.seconds or 0.0) / 60 for run in runs]
    bars(panels[3], labels, minutes, "training (minutes)", "{:.3g}")
    tidy(panels, label_size=8)
    with writing(path) as partial:
        canvas.savefig(partial, format="png")


def score_name(runs: Sequence[Run]) -> str:
    """What the best scores of runs are called: by their criterion, if they share it."""
    names = {run.criterion for run in runs if run.criterion is not None}
    return f"best {names.pop()}" if len(names) == 1 else "best"
