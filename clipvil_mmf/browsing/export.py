"""The questions that filters leave, as files that other commands read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import numpy as np

from clipvil_mmf.browsing.questions import Questions

_BLOCK = 10_000


def ids_json(questions: Questions, rows: np.ndarray) -> Iterator[str]:
    """Their ids as a JSON list, piece by piece, in the order of ``rows``."""
    return _list(map(json.dumps, _in_blocks(questions, rows)))


def questions_json(questions: Questions, rows: np.ndarray) -> Iterator[str]:
    """The questions as a plain list (``data.formats.plain``), piece by piece.

    Answers are given with their scores, as they are trained on. Questions with several images have
    them as a list, which that format does not read.
    """
    return _list(_row(questions, row) for row in rows.tolist())


def _row(questions: Questions, row: int) -> str:
    found = questions.question(row)
    images = [questions.image_name(image) for image in questions.image_rows(row)]
    image = images if len(images) > 1 else images[0]
    content = {"question_id": found.question_id, "image": image, "question": found.text}
    content |= questions.kinds_of(row)
    if found.answers:
        content["answers"] = dict(found.answers)
    return json.dumps(content)


def _in_blocks(questions: Questions, rows: np.ndarray) -> Iterator[int | str]:
    for start in range(0, len(rows), _BLOCK):
        yield from questions.ids(rows[start : start + _BLOCK])


def _list(elements: Iterable[str]) -> Iterator[str]:
    comma = "["
    for element in elements:
        yield f"{comma}\n{element}"
        comma = ","
    yield "[]\n" if comma == "[" else "\n]\n"
