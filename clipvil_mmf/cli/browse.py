"""``clipvil browse``: a page to look at a data set and at predictions on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from clipvil_mmf.browsing.html import commands
from clipvil_mmf.browsing.server import Server
from clipvil_mmf.browsing.view import Browser
from clipvil_mmf.cli.pages import HostOption
from clipvil_mmf.cli.questions import (
    NAMES,
    AnnotationsOption,
    RootOption,
    image_folder,
    labelled_split,
    load_questions,
)


def command(
    questions: Annotated[
        str, typer.Argument(help=f"What to look at: {', '.join(NAMES)}, or a question file.")
    ],
    predictions: Annotated[
        list[str] | None,
        typer.Option(
            help="A prediction file, any number of times; NAME=FILE calls it so on the page."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="The split, where a dataset is named; by default val, or test for easy_vqa."
        ),
    ] = None,
    root: RootOption = None,
    annotations: AnnotationsOption = None,
    host: HostOption = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Of the page; 0 for a free one.", min=0, max=65535)
    ] = 7870,
) -> None:
    """Open a page in the browser: a data set, predictions, what is right and wrong."""
    split = split or labelled_split(questions)
    files = named_files(predictions or [])
    options = f"--questions {shlex.quote(questions)}"
    options += f" --split {shlex.quote(split)}" if questions in NAMES else ""
    options += f" --root {shlex.quote(str(root))}" if root is not None else ""
    folder = image_folder(questions, root)
    table = load_questions(questions, split, root, annotations)
    name = f"{questions} {split}" if questions in NAMES else Path(questions).name
    typer.echo(f"{name}: {len(table):,} questions on {table.image_count:,} images")
    browser = Browser.of_files(name, table, folder, files, typer.echo)
    server = Server(browser, commands(browser, options, str(folder)), host, port)
    typer.echo(f"{server.address} (Ctrl-C ends it)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        typer.echo("ended")
    finally:
        server.server_close()


def named_files(given: Sequence[str]) -> dict[str, Path]:
    """The prediction files by the names of their runs: ``NAME=FILE``, or by what tells them apart.

    Raises:
        FileNotFoundError: one does not exist.
        ValueError: two have one name.
    """
    files: dict[str, Path] = {}
    unnamed = []
    for value in given:
        name, sign, path = value.partition("=")
        if not sign or Path(value).is_file():
            name, path = "", value
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"--predictions {value}: there is no such file; expected FILE or NAME=FILE"
            )
        if name in files or (not name and Path(path) in unnamed):
            raise ValueError(f"--predictions {value} is there twice; give each another NAME=FILE")
        if name:
            files[name] = Path(path)
        else:
            unnamed.append(Path(path))
    for name, path in zip(distinct_names(unnamed), unnamed, strict=True):
        if name in files:
            raise ValueError(f"--predictions {path}: {name} is there twice; give it as NAME=FILE")
        files[name] = path
    return files


def distinct_names(files: Sequence[Path]) -> list[str]:
    """The parts of paths by which they differ; of a single one, its name."""
    paths = [file.absolute().with_suffix("").parts for file in files]
    if len(paths) < 2:
        return [path[-1] for path in paths]
    shortest = min(map(len, paths))
    heads = next(n for n in range(shortest + 1) if n == shortest or len({p[n] for p in paths}) > 1)
    first = [path[heads] if len(path) > heads else path[-1] for path in paths]
    # The folder where they part says enough, if it is another for each.
    if len(set(first)) == len(first):
        return first
    return ["/".join(path[min(heads, len(path) - 1) :]) for path in paths]
