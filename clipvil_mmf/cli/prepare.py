"""``clipvil prepare``: a dataset of the catalogue made ready for training."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from clipvil_mmf.data import prepare
from clipvil_mmf.data.catalogue import CATALOGUES, OFFICIAL, Catalogue, catalogue
from clipvil_mmf.data.label_vocabulary import build_labels
from clipvil_mmf.data.locking import writing
from clipvil_mmf.data.prepare import Item, Prepared, PrepareError
from clipvil_mmf.text_files import read_labels

_STOPPED = 130  # what a shell gives for Ctrl-C


def command(
    dataset: Annotated[str, typer.Argument(help=f"One of {', '.join(CATALOGUES)}.")],
    root: Annotated[Path, typer.Option(help="The folder with the dataset's files.")],
    splits: Annotated[
        str | None,
        typer.Option(help="Splits, with commas between them; by default those of the recipe."),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="A published answer vocabulary (trainval_label2ans.json, all_ans.json)."),
    ] = None,
    min_count: Annotated[
        int | None,
        typer.Option(help="Make a vocabulary of the answers that occur this often.", min=1),
    ] = None,
    allow_other_counts: Annotated[
        bool, typer.Option("--allow-other-counts", help="Take a part of the data.")
    ] = False,
    image_check: Annotated[
        bool, typer.Option(help="Look at the head of every image, and keep the sizes.")
    ] = True,
) -> None:
    """Look for the files of a dataset, check them, convert them once for training."""
    console = Console(highlight=False, soft_wrap=True)
    known = catalogue(dataset)
    names = _names(known, splits)
    _check_options(known, root, answers, min_count)
    items = prepare.survey(known, root, names)
    console.print(_found(items, known, root))
    _check_found(items, known, root, splits, image_check)
    prepared = []
    try:
        for name in names:
            ready = prepare.prepare_split(known, name, root)
            if not allow_other_counts:
                prepare.check_counts(known, ready)
            if image_check:
                prepare.check_images(known, ready, root)
            prepared.append(ready)
        vocabulary = None
        if known.min_count is not None:
            vocabulary, count = _vocabulary(known, root, prepared, answers, min_count)
    except KeyboardInterrupt as e:
        typer.echo("stopped. What is done is kept: the same command goes on from there", err=True)
        raise typer.Exit(_STOPPED) from e
    console.print(_ready(prepared))
    for ready in prepared:
        for reason, rows in ready.table.left_out.items():
            console.print(f"{ready.split}: {rows:,} rows are left out: {reason}")
    if vocabulary is not None:
        console.print(f"answers: {count:,} in {vocabulary}")
    console.print(f"next: {shlex.join(_next(known, root, names, vocabulary))}")


def _next(known: Catalogue, root: Path, names: list[str], vocabulary: Path | None) -> list[str]:
    """The command that trains on the prepared splits, or predicts where none is to train on."""
    section = f"dataset_config.{known.name}"
    splits, recipe = prepare.run_splits(known, names), prepare.recipe_splits(known)
    trains = bool(splits["train"])
    return [
        "mmf_run" if trains else "mmf_predict",
        f"config=projects/clipvil/configs/{known.recipe or known.name}.yaml",
        f"{section}.data_dir={root}",
        *(
            ()
            if vocabulary is None
            else (f"{section}.processors.answer_processor.params.vocab={vocabulary}",)
        ),
        *(
            f"{section}.annotations.{part}={','.join(found) or 'null'}"
            for part, found in splits.items()
            if found != recipe[part]
        ),
        *(() if trains else ("checkpoint.resume=true",)),
    ]


def _names(known: Catalogue, splits: str | None) -> list[str]:
    """The splits by the catalogue's own names, each once."""
    if splits is None:
        return list(known.default_splits)
    given = [name.strip() for name in splits.split(",") if name.strip()]
    for name in given:
        known.split(name)
    if not given:
        raise PrepareError("--splits: names none; expected names with commas between them")
    return list(dict.fromkeys(known.aliases.get(name, name) for name in given))


def _check_options(
    known: Catalogue, root: Path, answers: Path | None, min_count: int | None
) -> None:
    if not root.is_dir():
        raise PrepareError(
            f"--root {root}: no such folder; make it, and give this command again: it lists the "
            "files that belong there and where they are from"
        )
    if answers is not None and min_count is not None:
        raise PrepareError(
            "--answers takes a vocabulary, --min-count makes one; expected one of them"
        )
    if known.min_count is None and (answers, min_count) != (None, None):
        raise PrepareError(
            f"{'--min-count' if answers is None else '--answers'}: the labels of {known.name} are "
            "known; leave it out"
        )
    if answers is not None:
        read_labels(answers)


def _check_found(
    items: list[Item], known: Catalogue, root: Path, splits: str | None, image_check: bool
) -> None:
    missing = [i for i in items if i.path is None and (image_check or not i.name.endswith("/"))]
    if not missing:
        return
    hint = "get them from where the table says and unpack them there"
    official = [
        name
        for name, split in known.splits.items()
        if OFFICIAL in split.releases
        and all(known.find(root, file.name) for file in split.releases[OFFICIAL])
    ]
    if splits is None and "train" in official:
        hint += f", or take the official splits that are there: --splits {','.join(official)}"
    elif all(item.name.endswith("/") for item in missing):
        hint += ", or go on without a look at the images: --no-image-check"
    for url in dict.fromkeys(item.url for item in missing):
        typer.echo(url)  # on a line of its own, to be copied
    names = ", ".join(item.name for item in missing)
    raise PrepareError(f"missing in {root}: {names}; {hint}")


def _vocabulary(
    known: Catalogue,
    root: Path,
    prepared: list[Prepared],
    answers: Path | None,
    min_count: int | None,
) -> tuple[Path, int]:
    """The answer vocabulary and its size: the named one, a new one, or the published one.

    Where none is published, a new one has the answers of the recipe's training splits alone.
    """
    published = answers
    if published is None and known.answers is not None:
        published = known.find(root, known.answers.name)
    if published is not None and min_count is None:
        return published, len(read_labels(published))
    labelled = [ready for ready in prepared if ready.table.is_labelled]
    if known.answers is None:
        trained_on = prepare.recipe_splits(known)["train"]
        labelled = [ready for ready in labelled if ready.split in trained_on]
        lacking, where = "one to train on", "add a split to train on, or name a list (--answers)"
    else:
        lacking = "answers to make one of"
        where = f"get {known.answers.name} from {known.answers.url}, or add a labelled split"
    if not labelled:
        raise PrepareError(
            f"no answer vocabulary in {root}: no prepared split has {lacking}; {where}"
        )
    at_least = known.min_count if min_count is None else min_count
    made = build_labels((ready.table for ready in labelled), at_least)
    path = root / f"answers_min{at_least}.json"
    with writing(path) as partial:
        partial.write_text(json.dumps(made, indent=0) + "\n", encoding="utf-8")
    return path, len(made)


def _found(items: list[Item], known: Catalogue, root: Path) -> Table:
    title = f"{known.name} in {root} (descriptions and licences: {', '.join(known.pages)})"
    table = _table("split", "file", "", "where", title=title, title_justify="left")
    for item in items:
        state, where = ("found", str(item.path)) if item.path else ("missing", item.url)
        table.add_row(item.split, item.name, state, where, style=None if item.path else "red")
    return table


def _ready(prepared: list[Prepared]) -> Table:
    table = _table("split", "format", "questions", "images", "", "store", title="ready")
    for ready in prepared:
        table.add_row(
            ready.split,
            ", ".join(ready.table.formats),
            f"{len(ready.table):,}",
            f"{ready.table.image_count:,}",
            "kept" if ready.kept else "converted",
            str(ready.folder),
        )
    return table


def _table(*names: str, **options: Any) -> Table:
    """Names and addresses break, which are there to be copied, rather than being cut off."""
    return Table(*(Column(name, overflow="fold") for name in names), **options)
