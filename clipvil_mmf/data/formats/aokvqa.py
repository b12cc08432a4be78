"""A-OKVQA's JSON: a list of ``{"question_id", "question", "image_id", "split", "choices", ...}``.

``direct_answers`` are what ten people answered, ``correct_choice_idx`` is the place of the right
one of ``choices``; test files have neither. Answers to a question with ``difficult_direct_answer``
do not count unless they are chosen. Images are COCO's of 2017. Source: allenai/aokvqa.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder

NAME = "A-OKVQA JSON"
_SPLITS = ("train", "val", "test")
_COCO_DIGITS = 12


def recognises(file: QuestionFile) -> bool:
    """Whether the first element is a question with choices."""
    key, row = next(iter(file.elements), (None, None))
    return key is None and isinstance(row, dict) and {"question_id", "choices"} <= row.keys()


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file, see ``Format``.

    An answer's score is that of the direct answers, min(1, how many people gave it / 3), to the
    letter. Where several have the highest, the one that is the correct choice is the main one.
    """
    path = rows.one_file(files, NAME)
    builder = TableBuilder(NAME, str(path))
    for position, (_, row) in enumerate(stream_json(path, progress)):
        where = f"{path}: question {position}"
        choices = rows.people(rows.field(row, ("choices",), where), "choices", where)
        correct = _correct(row, choices, where)
        builder.add(
            rows.question_id(row, where),
            rows.text(row, ("question",), where),
            _image(row, where),
            _direct_answers(row, correct, where),
            _difficult(row, where),
            row,
        )
        builder.add_choices(choices, correct)
    return builder.build()


def _correct(row: dict[str, Any], choices: Sequence[str], where: str) -> str | None:
    place = row.get("correct_choice_idx")
    if place is None:
        return None
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(choices):
        raise AnnotationError(
            f"{where} has the correct_choice_idx {short(place)}; expected the place of one of its "
            f"{len(choices)} choices, from 0"
        )
    return choices[place]


def _direct_answers(
    row: dict[str, Any], correct: str | None, where: str
) -> dict[str, float] | None:
    if row.get("direct_answers") is None:
        return None
    counts = Counter(rows.people(row["direct_answers"], "direct_answers", where))
    first = sorted(counts, key=lambda answer: answer != correct)
    return {answer: min(1.0, counts[answer] / 3) for answer in first}


def _difficult(row: dict[str, Any], where: str) -> dict[str, str]:
    found = row.get("difficult_direct_answer")
    if not isinstance(found, bool | None):
        raise AnnotationError(
            f"{where} has difficult_direct_answer {short(found)}; expected true or false"
        )
    return {} if found is None else {"difficult": "yes" if found else "no"}


def _image(row: dict[str, Any], where: str) -> str:
    split = rows.text(row, ("split",), where)
    image = rows.name(rows.field(row, ("image_id",), where), "image_id", where)
    if split not in _SPLITS:
        raise AnnotationError(
            f"{where} has the split {short(split)}; expected {', '.join(_SPLITS)}"
        )
    if not (image.isascii() and image.isdigit() and len(image) <= _COCO_DIGITS):
        raise AnnotationError(
            f"{where} has the image_id {short(image)}; expected COCO's number of the image"
        )
    return f"{split}2017/{int(image):0{_COCO_DIGITS}d}.jpg"
