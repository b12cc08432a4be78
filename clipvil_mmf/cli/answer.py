"""``clipvil answer``: questions about an image, a folder of images, or those of a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipvil_mmf.atomic import replacing
from clipvil_mmf.cli.models import (
    METHODS_IN_WORDS,
    BackboneOption,
    DeviceOption,
    DtypeOption,
    ModelArgument,
)
from clipvil_mmf.inference.question_files import (
    ANSWER,
    ERROR,
    Asked,
    check_output,
    explained,
    is_table,
    read_folder,
    read_table,
    results_file,
)
from clipvil_mmf.tasks.confidence import CONFIDENCE, TOP

if TYPE_CHECKING:
    from clipvil_mmf.hub import Answerer, Answers


def command(
    model: ModelArgument,
    image: Annotated[
        str,
        typer.Argument(
            help="An image file or its http(s) address, a folder of images, or a file (.csv, .tsv, "
            ".jsonl, .json) with an image and a question a row."
        ),
    ],
    questions: Annotated[
        list[str] | None,
        typer.Argument(
            help="Questions, each about each image; none where the file has them. Of a task with "
            "several images per question, the others come first."
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(help="Answers to a question, the best first.", min=1)] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a line, as they come.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write all to this file (.csv, .json or .jsonl).")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="The folder of a file's images; by default the file's own.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Questions of a batch, at most.", min=1)] = 8,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="Save where the model looked for each answer into this new folder: 1.png for the "
            "first question, and so on."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"Of --explain: {METHODS_IN_WORDS}; by default the first that fits the model."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that read images; by default up to 4.", min=0)
    ] = None,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "fp32",
    backbone: BackboneOption = None,
) -> None:
    """Answer questions about images: of one, of a folder, of a file."""
    if output is not None:
        check_output(output)
    if explain is not None and explain.exists():
        raise ValueError(f"--explain {explain} exists: remove it, or give another name")
    given = questions or []
    asked = None
    if is_table(image):
        asked = read_table(Path(image), given, images)
    elif Path(image).is_dir():
        asked = read_folder(Path(image), given)
    elif not given:
        raise ValueError(
            f'{image}: give a question about it behind it, in quotes: "Is it raining?"'
        )
    # Imported here: what is wrong with the files is said at once.
    import clipvil_mmf
    from clipvil_mmf.explaining import check_method
    from mmf_bridge.common.progress import Progress

    answerer = clipvil_mmf.from_pretrained(model, device, dtype, backbone or None)
    is_many = asked is not None
    if asked is None:
        others = answerer.task.images_per_sample - 1
        shown = [image, *given[:others]] if others else image
        asked = [Asked({"image": shown, "question": q}, shown, q) for q in given[others:]]
        if not asked:
            raise ValueError(
                f"{model}: a question is about {others + 1} images; got {len(given) + 1}, "
                "expected so many and a question behind them"
            )
    if explain is not None:
        if method is not None:
            check_method(method)
        with explained(explain):
            explain.mkdir(parents=True)
    samples = [(one.image, one.question) for one in asked]
    found = answerer.stream(samples, top_k, batch_size, workers, return_errors=True)
    prints = as_json or output is None
    is_shown = is_many and not (prints and sys.stdout.isatty())
    errors: list[str] = []
    bar = Progress("answering", len(asked), "questions", is_shown)
    with results_file(output) as write, bar:
        for number, (one, answers) in enumerate(zip(asked, found, strict=True), 1):
            row = _row(one, answers, top_k)
            if explain is not None and ERROR not in row:
                _draw_maps(answerer, one, row[ANSWER], method, explain / f"{number}.png")
            if ERROR in row:
                errors.append(row[ERROR])
            write(row)
            if as_json:
                typer.echo(json.dumps(row, ensure_ascii=False))
            elif output is None:
                typer.echo(_line(row, is_many), err=ERROR in row)
            bar.update()
    failures = len(errors)
    if explain is not None:
        typer.echo(f"{explain}: {len(asked) - failures:,} maps", err=as_json)
    if output is not None:
        typer.echo(f"{output}: {len(asked) - failures:,} answers", err=as_json)
    if failures:
        first = "" if output is None else errors[0]
        unanswered = f"{failures:,} of {len(asked):,} questions have no answer"
        typer.echo(f"error: {unanswered}{'. ' * bool(first)}{first}", err=True)
        raise typer.Exit(1)


def _draw_maps(
    answerer: Answerer, asked: Asked, answer: str, method: str | None, path: Path
) -> None:
    """Save the photo of a question, or several side by side, under the map of the answer."""
    from clipvil_mmf.explaining.drawing import overlay, side_by_side

    seen = answerer.look(asked.image)
    maps = answerer.explain(seen, asked.question, method, answer).maps
    drawn = [overlay(photo.image, one) for photo, one in zip(seen.photos, maps, strict=True)]
    with explained(path), replacing(path) as partial:
        side_by_side(drawn).save(partial)


def _row(asked: Asked, found: Answers | ValueError, top_k: int) -> dict[str, Any]:
    """A row of a result: that of the question, and the answer, or why there is none."""
    if isinstance(found, ValueError):
        return {**asked.fields, ERROR: str(found)}
    best = [[label, round(score, 6)] for label, score in found]
    row = {**asked.fields, ANSWER: best[0][0], CONFIDENCE: best[0][1]}
    return {**row, TOP: best} if top_k > 1 else row


def _line(row: dict[str, Any], names_image: bool) -> str:
    """A row for people."""
    if ERROR in row:
        return f"error: {row[ERROR]}"
    best = row.get(TOP) or [[row[ANSWER], row[CONFIDENCE]]]
    answers = ", ".join(f"{label} ({100 * score:.0f}%)" for label, score in best)
    image = row["image"] if isinstance(row["image"], str) else ", ".join(row["image"])
    return f"{image + ': ' if names_image else ''}{row['question']} {answers}"
