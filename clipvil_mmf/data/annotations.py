"""Questions as records, and the question files they are read from. Imports the standard library.

Understood files (all JSON):

* VQA v2, official: ``{"questions": [{"question_id": int, "question", "image_id"}, ...]}``;
* a plain list of such rows; LXMERT's ``{"question_id", "sent", "img_id", "label"}`` is one;
* GQA, official: ``{"<question id>": {"question", "imageId", "answer"}, ...}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ID_KEYS = ("question_id", "questionId")
_TEXT_KEYS = ("question", "sent")
_IMAGE_KEYS = ("image_id", "img_id", "imageId")


class AnnotationError(ValueError):
    """A question file that cannot be used as it is; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question about one image.

    Args:
        question_id: as the annotation gives it; its type decides the type in prediction files.
        text: the question.
        image: path or name of its image.
        answers: answer -> score in (0, 1] (VQA's soft scores), ``None`` where it is not known.
    """

    question_id: int | str
    text: str
    image: str
    answers: Mapping[str, float] | None = None


def check_questions(questions: Iterable[Question], source: str) -> None:
    """Check what every user of the questions relies on: unique ids of one type.

    Args:
        questions: the questions of one split.
        source: where they come from, for the message.

    Raises:
        AnnotationError: a missing, doubled or ill-typed question id; a split without questions.
    """
    seen: set[int | str] = set()
    first: int | str | None = None
    for position, question in enumerate(questions):
        key = question.question_id
        if isinstance(key, bool) or not isinstance(key, (int, str)) or key == "":
            raise AnnotationError(
                f"{source}: question {position} ({question.text!r}) has the id {key!r}; expected "
                "an integer or a non-empty string. Give each question its question_id"
            )
        if first is None:
            first = key
        elif type(key) is not type(first):
            raise AnnotationError(
                f"{source}: question {position} has the {type(key).__name__} id {key!r}, the "
                f"first one the {type(first).__name__} id {first!r}; expected one type. "
                "Leaderboards tell 1 from '1': write all ids alike"
            )
        if key in seen:
            raise AnnotationError(
                f"{source}: question id {key!r} occurs twice, again at question {position}; "
                "expected unique ids. Remove or renumber one of them"
            )
        seen.add(key)
    if first is None:
        raise AnnotationError(f"{source}: no questions; expected at least one")


def read_questions(path: str | Path) -> list[Question]:
    """Read and check a question file.

    Returns:
        its questions in the order of the file.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: it is not JSON, not one of the known layouts, or ``check_questions`` fails.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Question file {path} does not exist; expected a JSON file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise AnnotationError(
            f"{path} is not valid JSON ({e}); expected a question file. Was the download complete?"
        ) from e
    questions = [
        _question(row, f"{path}: question {position}")
        for position, row in enumerate(_rows(content, path))
    ]
    check_questions(questions, str(path))
    return questions


def _rows(content: Any, path: Path) -> list[Any]:
    if isinstance(content, dict) and isinstance(content.get("questions"), list):
        return content["questions"]
    if isinstance(content, dict) and content and all(isinstance(v, dict) for v in content.values()):
        return [{**row, "question_id": key} for key, row in content.items()]
    if isinstance(content, list):
        return content
    raise AnnotationError(
        f'{path}: expected {{"questions": [...]}} (VQA), a list of questions, or an object of '
        f"questions by id (GQA); found {type(content).__name__}"
    )


def _question(row: Any, where: str) -> Question:
    if not isinstance(row, dict):
        raise AnnotationError(f"{where} is {row!r}; expected an object with a question_id")
    answers = row.get("label")
    if answers is None and isinstance(row.get("answer"), str):
        answers = {row["answer"]: 1.0}
    if answers is not None and not isinstance(answers, dict):
        raise AnnotationError(f"{where} has the label {answers!r}; expected {{answer: score}}")
    return Question(
        question_id=_first(row, _ID_KEYS, where),
        text=str(_first(row, _TEXT_KEYS, where)),
        image=str(_first(row, _IMAGE_KEYS, where)),
        answers=answers,
    )


def _first(row: dict[str, Any], keys: tuple[str, ...], where: str) -> Any:
    for key in keys:
        if row.get(key) is not None:
            return row[key]
    raise AnnotationError(f"{where} has no {keys[0]!r} (found {sorted(row)}); add it")
