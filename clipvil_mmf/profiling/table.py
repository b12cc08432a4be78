"""The figures of several methods as a table for people and as CSV for programs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from clipvil_mmf.profiling.files import writing
from clipvil_mmf.profiling.processes import Row
from clipvil_mmf.profiling.request import Request

MIB = 2**20
COLUMNS = (
    "method",
    "trainable",
    "total",
    "trainable_percent",
    "gmacs_per_image",
    "peak_mib",
    "growth_mib",
    "step_seconds",
    "predict_seconds",
    "step_gflop",
    "matmul_gflop_per_second",
    "utilisation_percent",
    "memory_by",
    "uncounted_operators",
    "reason",
    "batch_size",
    "image_size",
    "precision",
    "device",
    "repeats",
)


def as_table(rows: Sequence[Row], title: str) -> Table:
    """The table of `clipvil profile`; a method that could not be measured has its reason."""
    names = ("method", "trainable", "%", "GMACs", "peak MiB", "growth", "step", "util", "predict")
    rate = _best_rate(rows)
    lines = [_texts(row, rate, len(names)) for row in rows]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.pad_edge, table.padding = False, (0, 1, 0, 0)
    for name, *texts in zip(names, *lines, strict=True):
        # In a narrow terminal a line that wraps is better than a figure cut short.
        width = max(len(text) for text in (name, *texts))
        justify = "left" if name == "method" else "right"
        table.add_column(name, justify=justify, no_wrap=True, min_width=width)
    for texts in lines:
        table.add_row(*texts)
    return table


def footnotes(rows: Sequence[Row]) -> list[str]:
    """What the table cannot say: reasons, how memory was measured, what GMACs leave out."""
    notes = [f"{row.method}: {row.reason}" for row in rows if row.figures is None]
    measured = [row.figures for row in rows if row.figures is not None]
    if measured:
        ways = ", ".join(dict.fromkeys(figures.memory_by for figures in measured))
        notes.append(f"memory in MiB: {ways}; growth: above the resting size of the same process")
        notes.append(
            "util: products and convolutions of a step, as a share of what a matrix product "
            f"reaches here: {_in_words(_best_rate(rows))}"
        )
        names = sorted({name for figures in measured for name in figures.uncounted})
        notes.append(f"not in GMACs: {', '.join(names)}")
    return notes


def write_csv(rows: Sequence[Row], request: Request, path: Path) -> None:
    """Write the same figures as CSV, with `COLUMNS`.

    Args:
        rows: one a method.
        request: what they share: batch, precision, device.
        path: of the file.

    Raises:
        OSError: it cannot be written.
    """
    sizes, rate = request.sizes, _best_rate(rows)
    shared = {
        "batch_size": sizes.images,
        "image_size": f"{sizes.height}x{sizes.width}",
        "precision": request.precision,
        "device": request.device,
        "repeats": request.repeats,
    }
    with writing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow({**_cells(row, rate), **shared})


def _best_rate(rows: Sequence[Row]) -> float:
    """What a matrix product reaches at its best: other work may have slowed it down in some."""
    return max((row.figures.matmul_rate for row in rows if row.figures is not None), default=0.0)


def _cells(row: Row, rate: float) -> dict[str, object]:
    figures = row.figures
    if figures is None:
        return {"method": row.method, "reason": row.reason}
    uncounted = " ".join(f"{name}:{count}" for name, count in figures.uncounted.items())
    return {
        "method": row.method,
        "trainable": figures.parameters.trainable,
        "total": figures.parameters.total,
        "trainable_percent": round(figures.parameters.percent, 4),
        "gmacs_per_image": round(figures.macs_per_image / 1e9, 6),
        "peak_mib": round(figures.peak / MIB, 2),
        "growth_mib": round(figures.growth / MIB, 2),
        "step_seconds": round(figures.step, 6),
        "predict_seconds": round(figures.predict, 6),
        "step_gflop": round(figures.step_operations / 1e9, 3),
        "matmul_gflop_per_second": round(rate / 1e9, 3),
        "utilisation_percent": round(100 * figures.utilisation(rate), 2),
        "memory_by": figures.memory_by,
        "uncounted_operators": uncounted,
    }


def _texts(row: Row, rate: float, columns: int) -> list[str]:
    """A line of the table."""
    figures = row.figures
    if figures is None:
        return [row.method, *["–"] * (columns - 1)]
    return [
        row.method,
        f"{figures.parameters.trainable:,}",
        f"{figures.parameters.percent:.2f}",
        f"{figures.macs_per_image / 1e9:,.2f}",
        f"{figures.peak / MIB:,.0f}",
        f"{figures.growth / MIB:,.0f}",
        _seconds(figures.step),
        f"{100 * figures.utilisation(rate):.0f}%",
        _seconds(figures.predict),
    ]


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _in_words(operations: float) -> str:
    """Operations per second, for people."""
    if operations >= 1e12:
        return f"{operations / 1e12:.0f} TFLOP/s"
    return f"{operations / 1e9:.0f} GFLOP/s"
