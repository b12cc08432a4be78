"""TextVQA's JSON: ``{"data": [{"question_id", "question", "image_id", "answers", ...}, ...]}``.

``answers`` are what ten people said, a string each; test files have none. ``set_name`` says in
which folder the image lies. Source: https://textvqa.org/dataset/.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.data_list import NOTE, has_questions, read_questions
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.data.vqa_normalize import most_common

__all__ = ["NAME", "NOTE", "read", "recognises"]

NAME = "TextVQA JSON"
_SETS = ("train", "val", "test")


def recognises(file: QuestionFile) -> bool:
    """Whether ``data`` has questions about images that are named by their ids."""
    return has_questions(file, "image_id")


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file, see ``Format``."""
    return read_questions(NAME, files, progress, _add)


def _add(builder: TableBuilder, row: Any, where: str) -> None:
    image = rows.name(rows.field(row, ("image_id",), where), "image_id", where)
    subset = row.get("set_name")
    if subset not in (None, *_SETS):
        raise AnnotationError(
            f"{where} has the set_name {short(subset)}; expected one of {', '.join(_SETS)}"
        )
    folder = "test_images" if subset == "test" else "train_images"
    builder.add_question(
        rows.question_id(row, where),
        rows.text(row, ("question",), where),
        f"{folder}/{rows.image_file(image)}",
        row,
    )
    if row.get("answers") is not None:
        given = rows.people(row["answers"], "answers", where)
        builder.add_annotators(given, most_common(given), {})
