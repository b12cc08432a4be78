"""Preparing VQA v2 and GQA: look for the files, convert each split once, check it against what is
known of it, make the answer vocabulary.

Each step is complete or leaves nothing, and one that is done is not done again: whoever stops it
starts it again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from clipvil_mmf.data.catalogue import Catalogue, store_folder
from clipvil_mmf.data.locking import writing
from clipvil_mmf.data.store import is_fresh, open_or_convert, store_path
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.paths import config_dir


class PrepareError(ValueError):
    """The data are not what they should be; the message says what to do."""


@dataclass(frozen=True)
class Item:
    """Something that is there or missing.

    Args:
        split: the splits that need it.
        name: of the file or folder.
        path: where it is; ``None`` if it is missing.
        url: where it is downloaded from.
    """

    split: str
    name: str
    path: Path | None
    url: str


@dataclass(frozen=True)
class Prepared:
    """A split that is ready for training.

    Args:
        split: its name.
        table: its questions, mapped from the store.
        folder: of the store.
        kept: whether an earlier run had converted it.
    """

    split: str
    table: QuestionTable
    folder: Path
    kept: bool


def survey(dataset: Catalogue, root: Path, splits: Sequence[str]) -> list[Item]:
    """What the splits need, and what of it is there.

    Of a split's formats the first complete one counts; where none is, the files of the first one
    are listed, with the names of those that would do instead.

    Raises:
        CatalogueError: no such split.
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


def prepare_split(
    files: Sequence[Path], split: str, root: Path, progress: bool = False
) -> Prepared:
    """Convert the files of a split, unless that is done.

    Raises:
        AnnotationError: a file cannot be used.
        StoreError: the store cannot be written.
    """
    folder = store_folder(root, split)
    kept = is_fresh(folder, files)
    table = open_or_convert(files, folder, progress)
    return Prepared(split, table, store_path(files, folder), kept)


def check_counts(dataset: Catalogue, prepared: Prepared) -> None:
    """Compare a split with its published size.

    Raises:
        PrepareError: it has another one.
    """
    known = dataset.split(prepared.split)
    found = (len(prepared.table), prepared.table.image_count)
    for what, count, expected in zip(
        ("questions", "images"), found, (known.questions, known.images), strict=True
    ):
        if expected is not None and count != expected:
            raise PrepareError(
                f"{dataset.name} {prepared.split}: {prepared.table.source} has {count:,} {what}; "
                f"expected {expected:,}. Download it again, or give --allow-other-counts for a "
                "part of the data"
            )


def check_images(
    dataset: Catalogue, prepared: Prepared, root: Path, progress: bool = False
) -> None:
    """Read the size of each image of a split; the store keeps them, for grouping by aspect ratio.

    Raises:
        PrepareError: images are missing or damaged.
    """
    folder = root / dataset.image_root
    sizes = prepared.table.image_sizes(folder, progress)
    bad = np.flatnonzero(~sizes.all(axis=1))
    if len(bad):
        first = folder / prepared.table.image_path(int(bad[0]))
        url = dataset.image_archives[dataset.split(prepared.split).image_folder]
        raise PrepareError(
            f"{dataset.name} {prepared.split}: {len(bad):,} of {len(sizes):,} images are missing "
            f"or damaged, such as {first}. Get them from {url}, or give --no-image-check"
        )


def write_vocabulary(path: Path, answers: Sequence[str]) -> None:
    """Write a JSON list, at once.

    Raises:
        StoreError: it cannot be written.
    """
    with writing(path) as partial:
        partial.write_text(json.dumps(list(answers), indent=0) + "\n", encoding="utf-8")


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
