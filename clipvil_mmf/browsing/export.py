"""The questions that filters leave, as files that other commands read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from clipvil_mmf.browsing.questions import Questions

_BLOCK = 10_000


def ids_json(questions: Questions, rows: np.ndarray) -> Iterator[str]:
    """Their ids as a JSON list, piece by piece, in the order of ``rows``."""
    return _list(json.dumps(key) for block in _blocks(rows) for key in questions.ids(block))


def questions_json(questions: Questions, rows: np.ndarray) -> Iterator[str]:
    """The questions as a plain list (``data.formats.plain``), piece by piece.

    Answers are given with their scores, as they are trained on. Questions with several images have
    them as a list, which that format does not read.
    """
    return _list(map(json.dumps, _rows(questions, rows)))


def _rows(questions: Questions, rows: np.ndarray) -> Iterator[dict[str, Any]]:
    table = questions.table
    names = questions.image_names()
    answers = table.answer_texts if table.is_labelled else []
    for block in _blocks(rows):
        images = table.image_rows[block].reshape(len(block), -1).tolist()
        labels: list[dict[str, float]] = [{} for _ in images]
        if table.is_labelled:
            soft = table.answers_of(block)
            scores = soft.scores.astype(np.float64).round(6).tolist()
            for place, answer, score in zip(
                soft.positions.tolist(), soft.rows.tolist(), scores, strict=True
            ):
                labels[place][answers[answer]] = score
        kinds = {
            name: [kind.names[code] for code in kind.codes[block].tolist()]
            for name, kind in questions.kinds.items()
        }
        columns = zip(questions.ids(block), questions.texts(block), images, labels, strict=True)
        for place, (key, text, shown, label) in enumerate(columns):
            image = [names[one] for one in shown]
            row = {"question_id": key, "image": image[0] if len(image) == 1 else image}
            row["question"] = text
            row |= {name: found[place] for name, found in kinds.items() if found[place]}
            yield row | ({"answers": label} if label else {})


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))


def _list(elements: Iterable[str]) -> Iterator[str]:
    comma = "["
    for element in elements:
        yield f"{comma}\n{element}"
        comma = ","
    yield "[]\n" if comma == "[" else "\n]\n"
