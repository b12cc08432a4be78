"""What files of grid features save: UniPT beside its tower, on the tower's features, on tokens.

    python benchmarks/grid_features.py [--size published|tiny] [--rounds 3] [--images 2]

The three take turns in one process, so that ratios hold on a machine that others use as well. A
step is forward, loss, backward, clip and update on a synthetic batch with random weights.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.recipes import CONFIGS, MODEL, TINY_FUSION
from clipvil_mmf.cli.profile import PUBLISHED_ANSWERS, PUBLISHED_WORDS, read_settings, request_of
from clipvil_mmf.profiling.batch import BatchSizes
from clipvil_mmf.profiling.measure import Figures
from clipvil_mmf.profiling.processes import perform

ENCODER = f"{MODEL}.image_encoder.params"
# Name -> yaml file, its options, those of the small size.
VARIANTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "beside the tower": (
        "vqa2_unipt",
        (f"{ENCODER}.batch_norm=eval",),
        (f"{ENCODER}.tower.layers=[1,1,1,1]", f"{ENCODER}.tower.width=8"),
    ),
    "on features": ("vqa2_unipt_grid", (), (f"{ENCODER}.feature_size=256",)),
    "on visual tokens": (
        "vqa2_unipt_grid",
        (f"{ENCODER}.projected=true",),
        (f"{ENCODER}.feature_size=256",),
    ),
}
SIZES = {"published": (384, 640), "tiny": (64, 96)}


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="published")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2, help="a batch, a question each")
    options = parser.parse_args()
    height, width = SIZES[options.size]
    sizes = BatchSizes(options.images, height, width)
    requests = {}
    for name, (yaml, given, small) in VARIANTS.items():
        fusion = tuple(f"{MODEL}.fusion.params.{option}" for option in TINY_FUSION)
        overrides = given if options.size == "published" else given + small + fusion
        settings = read_settings(str(CONFIGS / f"{yaml}.yaml"), [*overrides])
        request = request_of(settings, PUBLISHED_ANSWERS, PUBLISHED_WORDS)
        requests[name] = replace(request, sizes=sizes, repeats=1)
    found: dict[str, list[Figures]] = {name: [] for name in VARIANTS}
    for number in range(options.rounds):
        for name, request in requests.items():
            print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            found[name].append(perform(request))
    title = f"UniPT, {options.images} images of {height}x{width}, fp32, {options.rounds} rounds"
    show(found, Console(highlight=False, width=120), title)


def show(found: dict[str, list[Figures]], console: Console, title: str) -> None:
    """Print medians, and the medians of each round's ratios to the first variant."""
    heads = ("", "GMACs an image", "growth MiB", "step s", "of it", "prediction s", "of it")
    table = Table(*heads, title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    first = next(iter(found.values()))
    for name, figures in found.items():
        cells = [f"{figures[0].macs_per_image / 1e9:,.2f}"]
        cells.append(f"{median(each.growth for each in figures) / 2**20:,.0f}")
        for field in ("step", "predict"):
            times = [getattr(each, field) for each in figures]
            beside = [getattr(each, field) for each in first]
            ratios = [time / other for time, other in zip(times, beside, strict=True)]
            cells += [f"{median(times):.3g}", f"{median(ratios):.2f}"]
        table.add_row(name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
