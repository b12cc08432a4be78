"""Preparing a dataset of the catalogue: look for the files, convert each split once, check it
against what is known of it, make the answer vocabulary.

Each step is complete or leaves nothing, and one that is done is not done again: whoever stops it
starts it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from clipvil_mmf.data.catalogue import Catalogue, find_split, store_folder
from clipvil_mmf.data.store import is_fresh, open_or_convert, store_path
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.paths import config_dir


class PrepareError(ValueError):
    """The data are not what they should be; the message says what to do."""


@dataclass(frozen=True)
class Item:
    """Something that is there or missing."""

    split: str  # the splits that need it
    name: str  # of the file or folder
    path: Path | None  # None if it is missing
    url: str  # where it is downloaded from


@dataclass(frozen=True)
class Prepared:
    """A split that is ready for training."""

    split: str
    table: QuestionTable  # its questions, mapped from the store
    folder: Path  # of the store
    kept: bool  # whether an earlier run had converted it


def survey(dataset: Catalogue, root: Path, splits: Sequence[str]) -> list[Item]:
    """What the splits need, and what of it is there.

    Of a split's formats the first complete one counts; where none is, the files of the first one
    are listed, with the names of those that would do instead.
    """
    items = []
    for name in splits:
        releases = [*dataset.split(name).releases.values()]
        complete = [files for files in releases if all(dataset.find(root, f.name) for f in files)]
        first, *others = complete or releases
        instead = [] if complete else [file.name for files in others for file in files]
        hint = f" (or {' + '.join(instead)})" if instead else ""
        items += [
            Item(name, f"{file.name}{hint}", dataset.find(root, file.name), file.url)
            for file in first
        ]
    for folder in dict.fromkeys(dataset.split(name).image_folder for name in splits):
        users = [name for name in splits if dataset.split(name).image_folder == folder]
        path = root / folder if (root / folder).is_dir() else None
        items.append(Item(", ".join(users), f"{folder}/", path, dataset.image_archives[folder]))
    return items


def prepare_split(dataset: Catalogue, split: str, root: Path) -> Prepared:
    """Convert the files of a split, unless that is done; raises what ``open_or_convert`` does."""
    files, folder = find_split(dataset.name, split, root), store_folder(root, split)
    kept = is_fresh(folder, files)
    table = open_or_convert(files, folder, progress=True)
    return Prepared(split, table, store_path(files, folder), kept)


def check_counts(dataset: Catalogue, prepared: Prepared) -> None:
    """Raise ``PrepareError`` unless a split has its published size."""
    known, table = dataset.split(prepared.split), prepared.table
    for what, count, expected in (
        ("questions", len(table), known.questions),
        ("images", table.image_count, known.images),
    ):
        if expected is not None and count != expected:
            raise PrepareError(
                f"{dataset.name} {prepared.split}: {table.source} has {count:,} {what}; "
                f"expected {expected:,}. Download it again, or give --allow-other-counts for a "
                "part of the data"
            )


def check_images(dataset: Catalogue, prepared: Prepared, root: Path) -> None:
    """Read the size of each image of a split; the store keeps them, for grouping by aspect ratio.

    Missing or damaged ones are a ``PrepareError``.
    """
    folder = root / dataset.image_root
    sizes = prepared.table.image_sizes(folder, progress=True)
    bad = np.flatnonzero(~sizes.all(axis=1))
    if len(bad):
        first = folder / prepared.table.image_path(int(bad[0]))
        url = dataset.image_archives[dataset.split(prepared.split).image_folder]
        raise PrepareError(
            f"{dataset.name} {prepared.split}: {len(bad):,} of {len(sizes):,} images are missing "
            f"or damaged, such as {first}. Get them from {url}, or give --no-image-check"
        )


def run_splits(known: Catalogue, prepared: Sequence[str]) -> dict[str, list[str]]:
    """What a run can train on, validate on and predict: the recipe's splits, or what there is.

    Without the recipe's split to validate on, ``val`` takes its place; its parts are then no
    training data. Where nothing is left to train on, a labelled split may be predicted.

    Args:
        known: the dataset.
        prepared: its splits that are ready.

    Returns:
        train, val and test -> splits; none where no prepared one serves.
    """
    recipe = recipe_splits(known)
    val = [name for name in (*recipe["val"], "val") if name in prepared][:1]
    train = [
        name
        for name in recipe["train"]
        if name in prepared and name not in val and known.splits[name].part_of not in val
    ]
    unlabelled = [name for name in prepared if not known.splits[name].labelled]
    test = [name for name in recipe["test"] if name in prepared] or unlabelled[:1]
    if not train and not test:
        test = val
    return {"train": train, "val": val, "test": test}


def recipe_splits(known: Catalogue) -> dict[str, list[str]]:
    """What the dataset's yaml file trains on, validates on and predicts, by the names here."""
    file = config_dir() / "datasets" / f"{known.name}.yaml"
    annotations = OmegaConf.load(file).dataset_config[known.name].annotations
    return {
        part: [known.aliases.get(name, name) for name in names]
        for part, names in annotations.items()
    }
