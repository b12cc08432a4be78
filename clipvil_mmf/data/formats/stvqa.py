"""ST-VQA's JSON: ``{"data": [{"question_id", "question", "file_path", "answers", ...}, ...]}``.

Each of a question's ``answers`` is right, whatever its case; test files have none. ``file_path`` is
the image's path in the folder of its split. Source: https://rrc.cvc.uab.es/?ch=11.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.data_list import NOTE, has_questions, read_questions
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile
from clipvil_mmf.data.table import QuestionTable, TableBuilder

__all__ = ["NAME", "NOTE", "read", "recognises"]

NAME = "ST-VQA JSON"


def recognises(file: QuestionFile) -> bool:
    """Whether ``data`` has questions about images that are named by their paths."""
    return has_questions(file, "file_path")


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file, see ``Format``."""
    return read_questions(NAME, files, progress, _add)


def _add(builder: TableBuilder, row: Any, where: str) -> None:
    image = rows.text(row, ("file_path",), where)
    text = rows.text(row, ("question",), where)
    answers = _answers(row, where)
    builder.add(rows.question_id(row, where), text, image, answers, fields=row)


def _answers(row: dict[str, Any], where: str) -> dict[str, float] | None:
    if row.get("answers") is None:
        return None
    given = rows.people(row["answers"], "answers", where)
    return {answer.lower().strip(): 1.0 for answer in given}
