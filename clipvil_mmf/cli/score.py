"""``clipvil score``: the score of a prediction file, over all questions and by type."""

from __future__ import annotations

import json
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
    load_questions,
)
from clipvil_mmf.data.catalogue import CATALOGUES
from clipvil_mmf.prediction.scoring import Mean, Scores, score_predictions
from clipvil_mmf.prediction.submission import LAYOUTS, read_predictions
from clipvil_mmf.prediction.truth import OFFICIAL_VQA, Truths
from clipvil_mmf.text_files import read_labels


def command(
    file: FileArgument,
    questions: QuestionsOption,
    annotations: Annotated[
        Path | None,
        typer.Option(help="The annotation file beside an official VQA v2 question file."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="The split, where a dataset is named; by default test for easy_vqa, else val: "
            "the test answers of vqa2 and gqa are not public."
        ),
    ] = None,
    root: RootOption = None,
    format: Annotated[
        Format, typer.Option(help="Names of the fields; auto: by those of the first row.")
    ] = Format.auto,
    vocab: Annotated[
        Path | None,
        typer.Option(
            help="The model's answers (.json list or .txt): also score as published GQA code "
            "does, without the questions whose answer is none of them."
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(help="Question types to list, the largest first.", min=1)
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Score a prediction file as its dataset does; unanswered questions count as wrong."""
    split = split or ("val" if questions in CATALOGUES else "test")
    truths = Truths(load_questions(questions, split, root, annotations))
    if vocab is not None and truths.rule == OFFICIAL_VQA:
        raise ValueError(
            "--vocab: belongs to GQA, whose published code leaves questions out by it; the "
            "official VQA accuracy knows no vocabulary. Leave it out"
        )
    vocabulary = None if vocab is None else read_labels(vocab)
    layout = None if format is Format.auto else LAYOUTS[format.value]
    predictions = read_predictions(file, truths.ids, layout)
    scores = score_predictions(predictions, truths, vocabulary)
    if as_json:
        typer.echo(json.dumps(as_dict(scores), indent=2))
    else:
        show(scores, Console(highlight=False, soft_wrap=True), top)


def as_dict(scores: Scores) -> dict[str, Any]:
    """The scores as what ``--json`` prints: percentages with two decimals, and counts."""

    def mean(value: Mean) -> dict[str, float | int]:
        return {"accuracy": value.percent, "questions": value.questions}

    result: dict[str, Any] = {
        "rule": scores.rule,
        "overall": mean(scores.overall),
        "missing": scores.missing,
        "groups": {
            kind: {name: mean(value) for name, value in sorted(names.items())}
            for kind, names in scores.groups.items()
        },
    }
    if scores.unbalanced:
        result["unbalanced"] = scores.unbalanced
    if scores.in_vocabulary is not None:
        result["in_vocabulary"] = mean(scores.in_vocabulary)
    if scores.consistency is not None:
        sentences = scores.consistency.questions
        result["consistency"] = {"percent": scores.consistency.percent, "sentences": sentences}
    return result


def show(scores: Scores, console: Console, top: int) -> None:
    """Print the tables."""
    table = _table(scores.rule, "")
    table.add_row("all questions", *_cells(scores.overall))
    if scores.in_vocabulary is not None:
        table.add_row("as published: answer in the vocabulary", *_cells(scores.in_vocabulary))
    if scores.consistency is not None:
        table.add_row("consistency: sentences right for all images", *_cells(scores.consistency))
    console.print(table)
    for kind, names in scores.groups.items():
        largest = sorted(names.items(), key=lambda item: (-item[1].questions, item[0]))
        table = _table(f"by {kind}", kind)
        for name, value in largest[:top]:
            table.add_row(name, *_cells(value))
        console.print(table)
        if len(largest) > top:
            console.print(f"... and {len(largest) - top} more (--top {len(largest)})")
    for what, count in {
        "questions without a prediction, counted as wrong": scores.missing,
        "predictions for questions outside GQA's balanced split, not counted": scores.unbalanced,
    }.items():
        if count:
            console.print(f"{what}: {count:,}")
    if scores.in_vocabulary is not None:
        outside = scores.overall.questions - scores.in_vocabulary.questions
        console.print(f"questions whose answer is not among the vocabulary's answers: {outside:,}")


def _table(title: str, head: str) -> Table:
    numbers = (Column(name, justify="right") for name in ("accuracy %", "questions"))
    return Table(head, *numbers, title=title, title_justify="left")


def _cells(value: Mean) -> tuple[str, str]:
    return f"{value.percent:.2f}", f"{value.questions:,}"
