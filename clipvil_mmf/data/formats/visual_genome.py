"""Visual Genome's questions: ``[{"id", "qas": [{"qa_id", "image_id", "question", "answer"}]}]``.

One element an image (``question_answers.json``); each question has one answer. Answers are
sentences such as ``On the wall.``; they are normalised as by the official VQA evaluation. Source:
https://homes.cs.washington.edu/~ranjay/visualgenome/api.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.data.vqa_normalize import normalize_answer

NAME = "Visual Genome questions"


def recognises(file: QuestionFile) -> bool:
    """Whether the first element is an image with its questions."""
    key, row = next(iter(file.elements), (None, None))
    return key is None and isinstance(row, dict) and "qas" in row


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file, see ``Format``; an answer of no words is never right."""
    path = rows.one_file(files, NAME)
    builder = TableBuilder(NAME, str(path))
    for position, (_, image) in enumerate(stream_json(path, progress)):
        found = rows.field(image, ("qas",), f"{path}: image {position}")
        if not isinstance(found, list):
            raise AnnotationError(
                f"{path}: image {position} has the qas {short(found)}; expected a list of questions"
            )
        for row in found:
            where = f"{path}: image {position}, question {len(builder.ids)}"
            answer = normalize_answer(rows.text(row, ("answer",), where))
            builder.add(
                rows.question_id(row, where, ("qa_id",)),
                rows.text(row, ("question",), where),
                rows.image_file(
                    rows.name(rows.field(row, ("image_id",), where), "image_id", where)
                ),
                {answer: 1.0} if answer else {},
                fields=row,
            )
    return builder.build()
