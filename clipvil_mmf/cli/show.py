"""``clipvil show``: a picture of predictions, with images, questions and answers."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from clipvil_mmf.cli.models import METHODS_IN_WORDS
from clipvil_mmf.cli.questions import (
    FileArgument,
    QuestionsOption,
    RootOption,
    SplitOption,
    image_folder,
    load_questions,
)
from clipvil_mmf.data.questions import Question, below
from clipvil_mmf.prediction.picture import Answered, Cell, draw, judge
from clipvil_mmf.prediction.submission import read_answers
from clipvil_mmf.text_files import read_text


class Only(str, Enum):
    """Which predictions to draw."""

    all = "all"
    right = "right"
    wrong = "wrong"


def command(
    file: FileArgument,
    questions: QuestionsOption,
    output: Annotated[Path, typer.Option(help="The picture to write (.png, .jpg ...).")],
    images: Annotated[int, typer.Option(help="How many images.", min=1)] = 12,
    questions_per_image: Annotated[
        int, typer.Option(help="How many questions of an image, at most.", min=1)
    ] = 2,
    columns: Annotated[int, typer.Option(help="Images of a row.", min=1)] = 4,
    ids: Annotated[
        Path | None,
        typer.Option(help="Draw these questions alone: a JSON list of ids, as clipvil browse has."),
    ] = None,
    only: Annotated[Only, typer.Option(help="Draw all predictions, or these alone.")] = Only.all,
    seed: Annotated[int, typer.Option(help="Decides which images and questions are drawn.")] = 0,
    split: SplitOption = "test",
    root: RootOption = None,
    explain: Annotated[
        str | None,
        typer.Option(
            help="Draw where --model looked for each answer, in a picture each: "
            f"{METHODS_IN_WORDS}."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="For --explain: the model, as clipvil answer takes it.")
    ] = None,
) -> None:
    """Draw predictions: images with their questions, the answers given, right or wrong."""
    _check_output(output)
    if (explain is None) != (model is None):
        raise ValueError("--explain METHOD and --model MODEL belong together: give both.")
    folder = image_folder(questions, root)
    asked = [below(folder, question) for question in load_questions(questions, split, root)]
    found = read_answers(file, [question.question_id for question in asked])
    if ids is not None:
        asked = _chosen(asked, ids)
    sure = found.confidences
    cells = choose(asked, found.predictions, only, images, questions_per_image, seed, sure)
    drawn = [answered for cell in cells for answered in cell.answered]
    counts = f"{len(cells)} images, {len(drawn)} questions"
    if explain is not None:
        cells = explained(cells, model, explain)
    draw(cells, columns).save(output, optimize=True)
    typer.echo(f"{output}: {counts}")
    if any(answered.right is not None for answered in drawn):
        typer.echo(f"right: {sum(answered.right is True for answered in drawn)} of {len(drawn)}")


def _chosen(questions: Sequence[Question], file: Path) -> list[Question]:
    """The questions whose ids are in a file; ``ValueError``: it has others."""
    if not file.is_file():
        raise FileNotFoundError(f"--ids {file}: there is no such file; expected a JSON list of ids")
    try:
        wanted = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--ids {file}: expected a JSON list of ids ({error})") from error
    if not isinstance(wanted, list) or not wanted or not all(map(_is_id, wanted)):
        raise ValueError(f"--ids {file}: expected a JSON list of ids, one at least")
    chosen = set(wanted)
    found = [question for question in questions if question.question_id in chosen]
    known = {question.question_id for question in found}
    other = next((key for key in chosen if key not in known), None)
    if other is not None:
        raise ValueError(
            f"--ids {file} has the id {other!r:.80} of no question (--questions, --split)"
        )
    return found


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def choose(
    questions: Sequence[Question],
    predictions: Mapping[int | str, str],
    only: Only,
    images: int,
    per_image: int,
    seed: int,
    confidences: Mapping[int | str, float] | None = None,
) -> list[Cell]:
    """Draw lots for images, and for questions of each; ``confidences`` are by question id."""
    by_image: dict[str | tuple[str, ...], list[Answered]] = {}
    for question in questions:
        if question.question_id not in predictions:
            continue
        key = question.question_id
        answered = judge(question, predictions[key], (confidences or {}).get(key))
        if only is not Only.all and answered.right is None:
            raise ValueError(
                f"--only {only.value}: the answer of question {question.question_id!r} is not "
                "known; expected questions with answers, or --only all"
            )
        if only is Only.all or answered.right is (only is Only.right):
            by_image.setdefault(question.image, []).append(answered)
    if not by_image:
        raise ValueError(f"--only {only.value}: no prediction is {only.value}; nothing to draw")
    lots = random.Random(seed)
    chosen = lots.sample(sorted(by_image), min(images, len(by_image)))
    return [
        Cell(image, tuple(lots.sample(by_image[image], min(per_image, len(by_image[image])))))
        for image in chosen
    ]


def explained(cells: Sequence[Cell], model: str, method: str) -> list[Cell]:
    """A cell for each question, with the map of its answer over the images."""
    # Imported here: torch is for this alone.
    import clipvil_mmf
    from clipvil_mmf.explaining import check_method
    from clipvil_mmf.explaining.drawing import overlay

    check_method(method)
    answerer = clipvil_mmf.from_pretrained(model)
    found = []
    for cell in cells:
        seen = answerer.look(cell.image)
        for one in cell.answered:
            maps = answerer.explain(seen, one.question, method, one.answer).maps
            drawn = tuple(overlay(p.image, m) for p, m in zip(seen.photos, maps, strict=True))
            found.append(Cell(drawn if len(drawn) > 1 else drawn[0], (one,)))
    return found


def _check_output(output: Path) -> None:
    Image.init()
    if Image.EXTENSION.get(output.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"--output {output}: expected a name ending in .png or .jpg")
    if not output.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.parent}; make it first")
