"""``clipvil check-submission``: is a prediction file in order; what is its score?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from clipvil_mmf.cli.questions import (
    FileArgument,
    Format,
    QuestionsOption,
    RootOption,
    SplitOption,
    choices_of,
    is_test_dev,
    load_questions,
    task_of,
)
from clipvil_mmf.prediction.scoring import score
from clipvil_mmf.prediction.submission import (
    LAYOUTS,
    Layout,
    Submission,
    check_submission,
    has_further_fields,
    layout_of_rows,
    plain_content,
    read_rows,
)
from clipvil_mmf.tasks import TASKS

_TEST_DEV = (
    "remark: since 2021 the server of VQA v2 wants the answers to all questions of test2015, for "
    "its test-dev phase too; predict the whole split test"
)
_FURTHER = (
    "remark: the rows have confidences or further answers, which a leaderboard may refuse; "
    "--strip FILE writes them without"
)


def command(
    file: FileArgument,
    questions: QuestionsOption,
    split: SplitOption = "test",
    root: RootOption = None,
    format: Annotated[
        Format,
        typer.Option(
            help="Names of the fields; auto: those of the questions' dataset, for other questions "
            "those of the first row."
        ),
    ] = Format.auto,
    strip: Annotated[
        Path | None,
        typer.Option(
            help="Write the rows to this file as the leaderboard wants them, without confidences "
            "and further answers."
        ),
    ] = None,
) -> None:
    """Say whether a leaderboard server would take a prediction file, and score it if it can be."""
    expected = load_questions(questions, split, root)
    rows = read_rows(file)
    is_auto = format is Format.auto
    layout = layout_of_rows(rows, task_of(questions)) if is_auto else LAYOUTS[format.value]
    submission = check_submission(rows, expected.ids(), layout, choices=choices_of(expected))
    part = is_test_dev(questions, split, root)
    Console(highlight=False, soft_wrap=True).print(_table(submission, layout))
    for problem in submission.problems:
        typer.echo(f"{problem.what}: {problem.count}")
        for example in problem.examples:
            typer.echo(f"  {example}")
        if problem.count > len(problem.examples):
            typer.echo(f"  ... and {problem.count - len(problem.examples)} more")
    accuracies = {}
    if not layout.is_number:
        accuracies = {"accuracy": score(submission.predictions, expected)}
    if submission.chosen:
        chosen = {"accuracy of choices": score(submission.chosen, expected, chosen=True)}
        accuracies = {**accuracies, **chosen} if submission.predictions else chosen
    if submission.accepted:
        accepted = "a server would accept it" if layout.has_server else "complete and in order"
        typer.echo(f"{file}: {'complete for test-dev alone' if part else accepted}")
    else:
        refused = "a server would refuse it" if layout.has_server else "not in order"
        typer.echo(f"{file}: {refused}", err=True)
    for what, accuracy in accuracies.items():
        if accuracy is not None:
            typer.echo(f"{what}: {accuracy:.4f}")
    if part:
        typer.echo(_TEST_DEV)
    if has_further_fields(rows) and strip is None:
        typer.echo(_FURTHER)
    if not submission.accepted:
        raise typer.Exit(1)
    if strip is not None:
        typer.echo(f"written: {_write_plain(rows, layout, strip)}")


def _write_plain(rows: Sequence[Any], layout: Layout, path: Path) -> Path:
    """Write a leaderboard file of rows, never over another one; the path that it got."""
    # Imported here: it takes a while, and a check does without.
    from mmf_bridge.common.prediction import write_rows

    kind = "csv" if TASKS[layout.of or layout.name][1].writes_csv else "json"
    if path.suffix != f".{kind}":
        raise ValueError(f"--strip {path}: expected a name ending in .{kind}, for {layout.name}")
    return write_rows(plain_content(rows, layout), path, header=False)


def _table(submission: Submission, layout: Layout) -> Table:
    kind = "leaderboard" if layout.has_server else "prediction"
    table = Table("", Column("count", justify="right"), title=f"{layout.name} {kind} file")
    table.add_row("rows in the file", f"{submission.rows:,}")
    table.add_row("questions of the split", f"{submission.expected:,}")
    answered = submission.predictions or submission.chosen
    table.add_row("questions answered", f"{len(answered):,}")
    for problem in submission.problems:
        table.add_row(problem.what, f"{problem.count:,}", style="red")
    return table
