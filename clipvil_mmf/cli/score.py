"""``clipvil score``: the score of a prediction file, over all questions and by type."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from clipvil_mmf.cli.questions import (
    AnnotationsOption,
    FileArgument,
    Format,
    QuestionsOption,
    RootOption,
    choices_of,
    labelled_split,
    load_questions,
)
from clipvil_mmf.prediction.answerability import RULE, Answerability, score_answerability
from clipvil_mmf.prediction.rules import EXACT, OF_ANNOTATORS
from clipvil_mmf.prediction.scoring import Mean, Scores, score_predictions
from clipvil_mmf.prediction.selective import Selective
from clipvil_mmf.prediction.submission import LAYOUTS, read_submission
from clipvil_mmf.prediction.truth import Truths
from clipvil_mmf.text_files import read_labels


def command(
    file: FileArgument,
    questions: QuestionsOption,
    annotations: AnnotationsOption = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="The split, where a dataset is named; by default val, whose answers are known, or "
            "test for easy_vqa."
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
    """Score a prediction file by the dataset's own rule; unanswered questions count as wrong."""
    split = split or labelled_split(questions)
    table = load_questions(questions, split, root, annotations)
    truths = Truths(table)
    if vocab is not None and truths.rule in OF_ANNOTATORS:
        raise ValueError(
            "--vocab: belongs to GQA, whose published code leaves questions out by it; the "
            "official VQA accuracy knows no vocabulary. Leave it out"
        )
    vocabulary = None if vocab is None else read_labels(vocab)
    layout = None if format is Format.auto else LAYOUTS[format.value]
    found = read_submission(file, truths.ids, layout, choices_of(table))
    if found.layout.is_number:
        print_answerability(score_answerability(found.predictions, table), as_json)
        return
    scores = []
    if found.predictions or not found.chosen:
        further = {key: [answer for answer, _ in pairs] for key, pairs in found.top.items()}
        sure = found.confidences
        scores.append(score_predictions(found.predictions, truths, vocabulary, sure, further))
    if found.chosen:
        chosen, sure = Truths(table, chosen=True), found.choice_confidences
        scores.append(score_predictions(found.chosen, chosen, confidences=sure))
    if as_json:
        first, *chosen = map(as_dict, scores)
        if chosen:
            first["multiple_choice"] = chosen[0]
        typer.echo(json.dumps(first, indent=2))
        return
    for one in scores:
        show(one, Console(highlight=False, soft_wrap=True), top)


def print_answerability(found: Answerability, as_json: bool) -> None:
    """Print the score of numbers, as a table or as JSON."""
    if as_json:
        typer.echo(json.dumps({"rule": RULE, **asdict(found)}, indent=2))
        return
    table = Table("", Column("%", justify="right"), title=RULE, title_justify="left")
    table.add_row("average precision", f"{found.average_precision:.2f}")
    table.add_row("F1", f"{found.f1:.2f}")
    Console(highlight=False, soft_wrap=True).print(table)


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
    if scores.left_out:
        result["unbalanced" if scores.rule == EXACT else "left_out"] = scores.left_out
    if scores.in_vocabulary is not None:
        result["in_vocabulary"] = mean(scores.in_vocabulary)
    if scores.consistency is not None:
        sentences = scores.consistency.questions
        result["consistency"] = {"percent": scores.consistency.percent, "sentences": sentences}
    if scores.selective is not None:
        result["confidence"] = asdict(scores.selective)
    if scores.best_of_top is not None:
        result["best_of_top"] = mean(scores.best_of_top)
    return result


def show(scores: Scores, console: Console, top: int) -> None:
    """Print the tables."""
    table = _table(scores.rule, "")
    table.add_row("all questions", *_cells(scores.overall))
    if scores.in_vocabulary is not None:
        table.add_row("as published: answer in the vocabulary", *_cells(scores.in_vocabulary))
    if scores.consistency is not None:
        table.add_row("consistency: sentences right for all images", *_cells(scores.consistency))
    if scores.best_of_top is not None:
        table.add_row("if the best of top_answers counted", *_cells(scores.best_of_top))
    console.print(table)
    if scores.selective is not None:
        console.print(_confidence_table(scores.selective))
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
        f"predictions for questions {_left_out(scores.rule)}, not counted": scores.left_out,
    }.items():
        if count:
            console.print(f"{what}: {count:,}")
    if scores.in_vocabulary is not None:
        outside = scores.overall.questions - scores.in_vocabulary.questions
        console.print(f"questions whose answer is not among the vocabulary's answers: {outside:,}")


def _confidence_table(found: Selective) -> Table:
    title = f"confidence of {found.questions:,} answers"
    table = Table("", Column("%", justify="right"), title=title, title_justify="left")
    rows = {
        "mean confidence": found.mean_confidence,
        "calibration error, 15 bins": found.calibration_error,
        "area under the risk-coverage curve": found.risk_coverage_area,
    }
    for share, accuracy in found.accuracy_at_coverage.items():
        rows[f"accuracy of the surest {share} %"] = accuracy
    for risk, coverage in found.coverage_at_risk.items():
        rows[f"questions answered at {risk} % risk"] = coverage
    for name, value in rows.items():
        table.add_row(name, f"{value:.2f}")
    return table


def _left_out(rule: str) -> str:
    return "outside GQA's balanced split" if rule == EXACT else "with difficult direct answers"


def _table(title: str, head: str) -> Table:
    numbers = (Column(name, justify="right") for name in ("accuracy %", "questions"))
    return Table(head, *numbers, title=title, title_justify="left")


def _cells(value: Mean) -> tuple[str, str]:
    return f"{value.percent:.2f}", f"{value.questions:,}"
