"""``clipvil check-submission``: would a leaderboard server take this file; what is its score?"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clipvil_mmf.cli.questions import load_questions
from clipvil_mmf.prediction.scoring import score
from clipvil_mmf.prediction.submission import (
    LAYOUTS,
    Submission,
    check_submission,
    layout_for,
    read_rows,
)


class Format(str, Enum):
    """Field names of the rows; ``auto``: by the type of the question ids."""

    auto = "auto"
    vqa = "vqa"
    gqa = "gqa"


def command(
    file: Annotated[Path, typer.Argument(help="The prediction file (JSON).")],
    questions: Annotated[
        str,
        typer.Option(help="What it should answer: a question file (JSON), easy_vqa, vqa2 or gqa."),
    ],
    split: Annotated[str, typer.Option(help="The split, where a dataset is named.")] = "test",
    root: Annotated[
        Path | None, typer.Option(help="The folder of vqa2 or gqa, where it is named.")
    ] = None,
    format: Annotated[
        Format, typer.Option(help="Names of the fields; auto: by the type of the question ids.")
    ] = Format.auto,
) -> None:
    """Say whether a leaderboard server would take a prediction file, and score it if it can be."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        expected = load_questions(questions, split, root)
        layout = layout_for(expected) if format is Format.auto else LAYOUTS[format.value]
        submission = check_submission(read_rows(file), expected, layout)
    except (OSError, ValueError, ModuleNotFoundError) as e:
        typer.echo(f"error: {e}", err=True)
        raise typer.Exit(1) from e
    console.print(_table(submission, layout.name))
    for problem in submission.problems:
        typer.echo(f"{problem.what}: {problem.count}")
        for example in problem.examples:
            typer.echo(f"  {example}")
        if problem.count > len(problem.examples):
            typer.echo(f"  ... and {problem.count - len(problem.examples)} more")
    accuracy = score(submission.predictions, expected)
    if submission.accepted:
        typer.echo(f"{file}: a server would accept it")
    else:
        typer.echo(f"{file}: a server would refuse it", err=True)
    if accuracy is not None:
        typer.echo(f"accuracy: {accuracy:.4f}")
    if not submission.accepted:
        raise typer.Exit(1)


def _table(submission: Submission, layout: str) -> Table:
    table = Table("", "count", title=f"{layout} leaderboard file")
    table.columns[1].justify = "right"
    table.add_row("rows in the file", f"{submission.rows:,}")
    table.add_row("questions of the split", f"{submission.expected:,}")
    table.add_row("questions answered", f"{len(submission.predictions):,}")
    for problem in submission.problems:
        table.add_row(problem.what, f"{problem.count:,}", style="red")
    return table
