"""VizWiz's JSON: a list of ``{"image", "question", "answers", "answer_type", "answerable"}``.

``answers`` are ten ``{"answer", "answer_confidence"}``; the test file has images and questions
alone. A question has no id: each image has one question, and result files name the image. Images
lie in a folder for each split. Source: https://vizwiz.org/tasks-and-datasets/vqa/.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.data.vqa_normalize import most_common

NAME = "VizWiz JSON"
_IMAGE = re.compile(r"VizWiz_(train|val|test)_[0-9]+\.jpg")
# How sure people were of their answers. The evaluation counts all answers alike.
_CONFIDENCES = ("yes", "maybe", "no")
_ANSWERABLE = {0: "no", 1: "yes"}


def recognises(file: QuestionFile) -> bool:
    """Whether the first element is about an image of VizWiz, and has no id."""
    key, row = next(iter(file.elements), (None, None))
    if key is not None or not isinstance(row, dict) or not {"question_id", "id"}.isdisjoint(row):
        return False
    return _IMAGE.fullmatch(str(row.get("image"))) is not None


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file, see ``Format``."""
    path = rows.one_file(files, NAME)
    builder = TableBuilder(NAME, str(path))
    for position, (_, row) in enumerate(stream_json(path, progress)):
        where = f"{path}: question {position}"
        image = rows.text(row, ("image",), where)
        named = _IMAGE.fullmatch(image)
        if named is None:
            raise AnnotationError(
                f"{where} has the image {short(image)}; expected VizWiz_train_00000000.jpg or "
                "the like"
            )
        text = rows.text(row, ("question",), where)
        builder.add_question(image, text, f"{named[1]}/{image}", row)
        if row.get("answers") is not None:
            given = rows.said(row["answers"], where)
            _check_confidences(row["answers"], where)
            builder.add_annotators(given, most_common(given), _kinds(row, where))
    return builder.build()


def _check_confidences(answers: list[dict[str, Any]], where: str) -> None:
    for one in answers:
        if one.get("answer_confidence") not in _CONFIDENCES:
            raise AnnotationError(
                f"{where} has the answer_confidence {short(one.get('answer_confidence'))}; "
                f"expected one of {', '.join(_CONFIDENCES)}"
            )


def _kinds(row: dict[str, Any], where: str) -> dict[str, str]:
    answerable = rows.field(row, ("answerable",), where)
    if isinstance(answerable, bool) or answerable not in (0, 1):
        raise AnnotationError(f"{where} has answerable {short(answerable)}; expected 0 or 1")
    kinds = rows.kinds(row, ("answer_type",), where)
    return {**kinds, "answerable": _ANSWERABLE[answerable]}
