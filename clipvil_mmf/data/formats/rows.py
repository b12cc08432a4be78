"""What the readers of rows share: fields with clear errors."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from clipvil_mmf.data.questions import AnnotationError


def field(row: Any, names: tuple[str, ...], where: str) -> Any:
    """The first of these fields that the row has.

    Args:
        row: an object of the file.
        names: the field's name, then its other names.
        where: the row, for the message.

    Raises:
        AnnotationError: the row is no object, or has none of them.
    """
    if not isinstance(row, dict):
        raise AnnotationError(
            f"{where} is {reprlib.repr(row)}; expected an object with a question_id"
        )
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise AnnotationError(f"{where} has no {names[0]!r} (found {sorted(map(str, row))}); add it")


def label(row: Mapping[str, Any], where: str) -> dict[str, float] | None:
    """LXMERT's soft label ``{answer: score}``, or GQA's one answer; ``None`` without either.

    Raises:
        AnnotationError: a label of another shape, or a score outside [0, 1].
    """
    found = row.get("label")
    if found is None:
        answer = row.get("answer")
        return {answer: 1.0} if isinstance(answer, str) else None
    if not isinstance(found, dict):
        raise AnnotationError(f"{where} has the label {found!r}; expected {{answer: score}}")
    for answer, score in found.items():
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 1:
            raise AnnotationError(
                f"{where} gives the answer {answer!r} the score {score!r}; expected a number in "
                "[0, 1]"
            )
    return found


def kinds(row: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    """The types of a question that the row has."""
    return {name: str(row[name]) for name in names if row.get(name) is not None}
