"""Trains on a few of easy-VQA's questions, from scratch and after a pre-training; a table.

Each training is a run of MMF's own command; what has ended is not trained again, and an interrupted
one goes on from its last checkpoint, so that the same command goes on where it was stopped:

    python scripts/pretrain_easy_vqa.py [--shares 0.02,0.05,0.2] [--seeds 1,2,3]

A seed draws the part of the questions, the weights, and the order. The pre-training sees the images
of all training questions, with captions, and none of the answers (easy_vqa_pretrain.yaml).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.tune_easy_vqa import ROOT, SAVE, figures, train

SHARES, SEEDS = "0.02,0.05,0.2", "1,2,3"
STARTS = ("from scratch", "pre-trained")


def main() -> None:
    """Train what has not been trained, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shares", default=SHARES, help="of the training questions, below 1")
    parser.add_argument("--seeds", default=SEEDS, help="numbers with commas between them")
    options = parser.parse_args()
    shares = [float(share) for share in options.shares.split(",")]
    seeds = [int(seed) for seed in options.seeds.split(",")]
    os.chdir(ROOT)
    found: dict[tuple[float, str], list[float]] = {}
    for seed in seeds:
        for share in shares:
            for start in STARTS:
                found.setdefault((share, start), []).append(accuracy(share, start, seed))
    show(found, shares, Console(highlight=False, soft_wrap=True))


def accuracy(share: float, start: str, seed: int) -> float:
    """The test accuracy (%) of a model that was trained on a share of the questions."""
    name = f"easy_vqa_few/{start.replace(' ', '_')}_{share}_{seed}"
    options = [f"training.seed={seed}", f"dataset_config.easy_vqa.subset_seed={seed}"]
    if start == "pre-trained":
        backbone = f"easy_vqa_pretrain/{seed}"
        seeded = f"training.seed={seed}"
        train("easy_vqa_pretrain", backbone, seeded, again=False, goes_on=True)
        options.append(f"model_config.clipvil.pretrained={SAVE / backbone}")
    options.append(f"dataset_config.easy_vqa.subset={share}")
    run = train("easy_vqa_few", name, *options, again=False, goes_on=True)
    return figures(run)["accuracy"]


def show(
    found: dict[tuple[float, str], list[float]], shares: list[float], console: Console
) -> None:
    """Print the mean and the spread over the seeds, and what the pre-training gains."""
    seeds = len(next(iter(found.values())))
    title = f"easy-VQA, test accuracy in %: mean and standard deviation of {seeds} seeds"
    table = Table("questions", *STARTS, "gain", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for share in shares:
        of_start = [found[share, start] for start in STARTS]
        means = [statistics.mean(values) for values in of_start]
        spreads = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in of_start]
        cells = [f"{m:.2f} ± {s:.2f}" for m, s in zip(means, spreads, strict=True)]
        table.add_row(f"{share:.0%}", *cells, f"{means[1] - means[0]:+.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
