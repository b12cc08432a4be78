"""The figures of several methods as a table for people and as CSV for programs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.table import Table

from clipvil_mmf.atomic import replacing
from clipvil_mmf.profiling.measure import Figures
from clipvil_mmf.profiling.processes import Request, Row

MIB = 2**20
# Columns of the CSV -> what a method's figures say, beside the best rate of a matrix product.
_CELLS: dict[str, Callable[[Figures, float], object]] = {
    "trainable": lambda found, _: found.parameters.trainable,
    "total": lambda found, _: found.parameters.total,
    "trainable_percent": lambda found, _: round(found.parameters.percent, 4),
    "gmacs_per_image": lambda found, _: round(found.macs_per_image / 1e9, 6),
    "peak_mib": lambda found, _: round(found.peak / MIB, 2),
    "growth_mib": lambda found, _: round(found.growth / MIB, 2),
    "step_seconds": lambda found, _: round(found.step, 6),
    "predict_seconds": lambda found, _: round(found.predict, 6),
    "step_gflop": lambda found, _: round(found.step_operations / 1e9, 3),
    "matmul_gflop_per_second": lambda _, rate: round(rate / 1e9, 3),
    "utilisation_percent": lambda found, rate: round(100 * found.utilisation(rate), 2),
    "memory_by": lambda found, _: found.memory_by,
    "uncounted_operators": lambda found, _: " ".join(
        f"{name}:{count}" for name, count in found.uncounted.items()
    ),
}
_SHARED = ("batch_size", "image_size", "precision", "device", "repeats")
_NAMES = ("method", "trainable", "%", "GMACs", "peak MiB", "growth", "step", "util", "predict")
COLUMNS = ("method", *_CELLS, "reason", *_SHARED)


def as_table(rows: Sequence[Row], title: str) -> Table:
    """The table of `clipvil profile`; a method that could not be measured has its reason."""
    rate = _best_rate(rows)
    lines = [_texts(row, rate) for row in rows]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.pad_edge, table.padding = False, (0, 1, 0, 0)
    for name, *texts in zip(_NAMES, *lines, strict=True):
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
    """Write the same figures as CSV, with `COLUMNS`; `request` is what the rows share."""
    sizes, rate = request.sizes, _best_rate(rows)
    size = f"{sizes.height}x{sizes.width}"
    shared = (sizes.images, size, request.precision, request.device, request.repeats)
    with writing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            found = row.figures
            cells = ["" if found is None else cell(found, rate) for cell in _CELLS.values()]
            writer.writerow([row.method, *cells, row.reason, *shared])


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside `path`, which takes its place if all goes well.

    Raises:
        OSError: it cannot be written; nothing half-written is left.
    """
    try:
        with replacing(path) as partial:
            yield partial
    except OSError as e:
        raise OSError(
            f"Cannot write {path}: {e.strerror or e}. Make room or give write permission there, or "
            "name another folder"
        ) from e


def _best_rate(rows: Sequence[Row]) -> float:
    """What a matrix product reaches at its best: other work may have slowed it down in some."""
    return max((row.figures.matmul_rate for row in rows if row.figures is not None), default=0.0)


def _texts(row: Row, rate: float) -> list[str]:
    """A line of the table."""
    figures = row.figures
    if figures is None:
        return [row.method, *["–"] * (len(_NAMES) - 1)]
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
    scale, unit = (1e12, "TFLOP/s") if operations >= 1e12 else (1e9, "GFLOP/s")
    return f"{operations / scale:.0f} {unit}"
