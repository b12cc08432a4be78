"""A plain list of questions, the format for one's own data:

``[{"question_id", "image", "question", "answer"}, ...]``. ``image`` is a path in the folder of the
images. Instead of ``answer`` a row may have ``answers``: soft scores ``{answer: score}``, or the
list of what ten people said. A list of rows of VQA's question files is read too, and
``[{"id", "image", "sentence", "label"}, ...]``: a label of one class each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.data.vqa_normalize import soft_scores

NAME = "a list of questions"
_PEOPLE = 10


def recognises(file: QuestionFile) -> bool:
    """Whether the file is a list."""
    return bool(file.elements) and file.elements[0][0] is None


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file, see ``Format``."""
    path = rows.one_file(files, NAME)
    builder = TableBuilder(NAME, str(path))
    for position, (_, row) in enumerate(stream_json(path, progress)):
        where = f"{path}: question {position}"
        builder.add(
            rows.question_id(row, where, ("question_id", "id")),
            rows.text(row, ("question", "sentence", "hypothesis"), where),
            rows.name(rows.field(row, ("image", "image_id"), where), "image", where),
            _answers(row, where),
            rows.kinds(row, ("question_type", "answer_type"), where),
            row,
        )
    return builder.build()


def _answers(row: dict[str, Any], where: str) -> dict[str, float] | None:
    named = row.get("label")
    if isinstance(named, str | int | float):  # the last two would be numbers of classes
        return {rows.string(named, "label", where): 1.0}
    found = row.get("answers")
    if found is None:
        return rows.label(row, where)
    if isinstance(found, dict):
        return rows.soft_label(found, where)
    if isinstance(found, list) and len(found) == _PEOPLE:
        return soft_scores(rows.people(found, "answers", where))
    raise AnnotationError(
        f"{where} has the answers {short(found)}; expected {{answer: score}}, or a list of what "
        f"{_PEOPLE} people said. For a single answer write 'answer'"
    )
